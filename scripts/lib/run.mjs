// Child processes of the scripts: output goes to a log that is shown when they fail; they die with their parent, or before the next set-up.
import { spawn, spawnSync } from 'node:child_process'
import { createWriteStream, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forgetGroup, noteGroup, stopGroup } from './groups.mjs'
import { Problem } from './terminal.mjs'

export const root = fileURLToPath(new URL('../../', import.meta.url))

const children = new Set()
const stopAll = () => {
  for (const { pid, child } of children) pid === undefined ? child.kill('SIGTERM') : stopGroup(pid)
}
process.on('exit', stopAll)
// npm takes back what it began when it is stopped: who leaves before it has ended lets the next set-up run beside that.
let stopping = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    stopAll()
    if (stopping || children.size === 0) process.exit(130)
    stopping = true
  })
}

/** Output of a short command, or undefined if it cannot be run. */
export function capture(command, args, options = {}) {
  const { status, stdout, error } = spawnSync(command, args, { encoding: 'utf8', windowsHide: true, ...options })
  return error || status !== 0 ? undefined : stdout.trim()
}

/**
 * Runs a command to its end. `log` names its log below .setup/; `onLine` hears every line. On failure the problem shows
 * the lines that matter, and `help` says what to do.
 */
export function run(
  command,
  args,
  { log, onLine = () => {}, help = '', env = process.env, cwd = root, inherit = false } = {}
) {
  return new Promise((resolve, reject) => {
    // A compiler stands behind two more processes, which a signal to the first one does not reach.
    const hasGroup = !inherit && process.platform !== 'win32'
    const child = spawn(command, args, {
      cwd,
      env,
      windowsHide: true,
      detached: hasGroup,
      stdio: inherit ? 'inherit' : ['ignore', 'pipe', 'pipe']
    })
    const one = { child, pid: hasGroup ? child.pid : undefined }
    children.add(one)
    if (one.pid !== undefined) noteGroup(one.pid)
    const tail = []
    let file
    if (!inherit) {
      const path = join(root, '.setup', `${log}.log`)
      mkdirSync(dirname(path), { recursive: true })
      file = createWriteStream(path)
      let rest = ''
      const take = (chunk) => {
        file.write(chunk)
        const lines = (rest + chunk).split(/\r?\n|\r/)
        rest = lines.pop()
        for (const line of lines) {
          tail.push(line)
          if (tail.length > 400) tail.shift()
          onLine(line)
        }
      }
      child.stdout.setEncoding('utf8').on('data', take)
      child.stderr.setEncoding('utf8').on('data', take)
    }
    const end = (problem) => {
      children.delete(one)
      if (one.pid !== undefined) forgetGroup(one.pid)
      file?.end()
      if (stopping) {
        if (children.size === 0) process.exit(130)
        return
      }
      if (problem) reject(problem)
      else resolve(tail)
    }
    child.on('error', ({ code, message }) => {
      const missing = code === 'ENOENT' ? 'Is it on PATH?' : help
      end(new Problem(`${command} could not be started: ${message}. ${missing}`))
    })
    child.on('close', (code, signal) => {
      if (code === 0 || stopping) return end()
      if (inherit)
        return end(new Problem(`${command} ${args.join(' ')} ended with ${signal ?? `status ${code}`}. ${help}`))
      console.error(interesting(tail))
      end(
        new Problem(
          `${command} ${args[0] ?? ''} ended with ${signal ?? `status ${code}`}; its whole output is in .setup/${log}.log. ${help}`
        )
      )
    })
  })
}

// The first error with its surroundings says more than the last lines, which only count failures.
function interesting(lines) {
  const first = lines.findIndex((line) => /\berror:|^FAILED|CMake Error|error TS\d|npm error/.test(line))
  return (first < 0 ? lines.slice(-40) : lines.slice(first, first + 40)).join('\n')
}
