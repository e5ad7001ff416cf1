import { type ChildProcess, spawn } from 'node:child_process'
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AdapterError } from './errors.js'
import { makeFolder } from './make-folder.js'

type Progress = (done: number, total: number) => void

interface Outcome {
  readonly code: number
  readonly output: string
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill()
})

function run(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  onOutput: (text: string) => void = () => {}
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(command[0] as string, command.slice(1), {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true
    })
    running.add(child)
    let output = ''
    const take = (chunk: Buffer) => {
      output += chunk.toString()
      onOutput(output)
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    child.on('error', (error) => resolve({ code: -1, output: error.message }))
    child.on('close', (code) => {
      running.delete(child)
      resolve({ code: code ?? -1, output })
    })
  })
}

/** The command that starts pip, or undefined where there is none. */
export async function findPip(env: NodeJS.ProcessEnv): Promise<readonly string[] | undefined> {
  const candidates = process.platform === 'win32' ? [['py', '-3'], ['python']] : [['python3'], ['python']]
  for (const candidate of candidates) {
    const command = [...candidate, '-m', 'pip']
    if ((await run([...command, '--version'], env)).code === 0) return command
  }
  return undefined
}

async function sizeOfTree(folder: string): Promise<number> {
  let total = 0
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (entry.isFile())
      total += await stat(join(entry.parentPath ?? entry.path, entry.name)).then(
        (s) => s.size,
        () => 0
      )
  }
  return total
}

const units: Readonly<Record<string, number>> = { kB: 1e3, MB: 1e6, GB: 1e9 }

// "Downloading torch-2.13.0-…whl (526.6 MB)"
function announcedBytes(output: string): number {
  const sizes = [...output.matchAll(/Downloading [^\n]*?\(([\d.]+) (kB|MB|GB)\)/g)]
  return sizes.reduce((sum, [, number, unit]) => sum + Number(number) * (units[unit ?? ''] ?? 1), 0)
}

/**
 * `pip download` of one requirement into a folder; gives the wheels' paths. pip honours the user's indexes, proxies and
 * certificates, and compares each file with the hash its index gives. `options` narrow what fits.
 */
export async function pipDownload(
  pip: readonly string[],
  requirement: string,
  folder: string,
  options: readonly string[],
  env: NodeJS.ProcessEnv,
  progress: Progress = () => {}
): Promise<string[]> {
  // pip writes into its temporary folder and moves the file at the end: watching that folder gives the progress.
  const temporary = join(folder, '.pip')
  makeFolder(temporary)
  let total = 0
  const watch = setInterval(async () => {
    if (total > 0) progress(Math.min(await sizeOfTree(folder), total), total)
  }, 200)
  try {
    const command = [
      ...pip,
      'download',
      '--only-binary=:all:',
      '--progress-bar',
      'off',
      '-d',
      folder,
      ...options,
      requirement
    ]
    const { code, output } = await run(command, { ...env, TMPDIR: temporary, TEMP: temporary }, (text) => {
      total = announcedBytes(text)
    })
    if (code !== 0) throw new AdapterError('ERR_PIP', command.join(' '), lastErrors(output))
  } finally {
    clearInterval(watch)
    await rm(temporary, { recursive: true, force: true })
  }
  return (await readdir(folder)).filter((name) => name.endsWith('.whl')).map((name) => join(folder, name))
}

function lastErrors(output: string): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '')
  const errors = lines.filter((line) => /^ERROR/.test(line))
  return (errors.length > 0 ? errors : lines).slice(-2).join(' ').slice(0, 600) || 'pip failed without a word'
}
