// One side of a measurement: a child process that reads a JSON command a line and answers with one.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Problem } from '../lib/terminal.mjs'
import { python, pythonEnv } from '../python-env.mjs'

const here = (file) => fileURLToPath(new URL(file, import.meta.url))

export class Side {
  #child
  #waiting = []
  #errors = ''

  constructor(name, command, args, env) {
    this.name = name
    this.started = performance.now()
    this.#child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true })
    this.#child.stdin.on('error', () => {})
    this.#child.stderr.on('data', (chunk) => {
      this.#errors = (this.#errors + chunk).slice(-4000)
    })
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (!line.startsWith('{')) return
      const answer = JSON.parse(line)
      if ('progress' in answer) this.#waiting[0]?.loading?.(answer.progress, answer.total)
      else this.#waiting.shift()?.resolve(answer)
    })
    this.#child.on('error', (error) => this.#end(error.message))
    this.#child.on('exit', (code, signal) => this.#end(`it ended with ${signal ?? `status ${code}`}`))
  }

  #end(why) {
    for (const { reject } of this.#waiting.splice(0))
      reject(new Problem(`The benchmark's side "${this.name}" failed: ${why}.\n${this.#errors}`))
  }

  /** `loading(done, total)`: hears how many adapters are there, while it takes. */
  async ask(command, loading) {
    const answer = await new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, loading })
      this.#child.stdin.write(`${JSON.stringify(command)}\n`)
    })
    if (answer.error) throw new Problem(`The benchmark's side "${this.name}" could not ${command.op}: ${answer.error}`)
    return answer
  }

  async close() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.stdin.end()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000)
    await ended
    clearTimeout(timer)
  }
}

// Threads of both runtimes are fixed before they start; a spinning thread of the waiting side would take a core.
const threadsEnv = (env, threads) => ({ ...env, OMP_NUM_THREADS: String(threads), OMP_WAIT_POLICY: 'PASSIVE' })

export async function startPeer(threads) {
  return new Side('adapters', await python(), [here('peer_worker.py')], threadsEnv(pythonEnv, threads))
}

export async function startOurs(threads) {
  return new Side('torch-adapters', process.execPath, [here('ours_worker.mjs')], threadsEnv(process.env, threads))
}
