import { spawn } from 'node:child_process'

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Process {
  readonly kill: (signal: NodeJS.Signals) => void
  /** What came so far. */
  readonly texts: { readonly stdout: string; readonly stderr: string }
  readonly ended: Promise<Ended>
}

export interface ProcessOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Standard input. Default: none. */
  readonly input?: string | undefined
  /** Called whenever something came, on either stream. */
  readonly onText?: (process: Process) => void
}

/** Starts a program and collects what it says. */
export function startProcess(command: string, args: readonly string[], options: ProcessOptions = {}): Process {
  const { onText, input, ...rest } = options
  const child = spawn(command, args, { ...rest, stdio: ['pipe', 'pipe', 'pipe'] })
  // One that is not read is a broken pipe.
  child.stdin.once('error', () => {})
  child.stdin.end(input)
  const texts = { stdout: '', stderr: '' }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, ...texts }))
  })
  const started: Process = { kill: (signal) => child.kill(signal), texts, ended }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      texts[stream] += text
      onText?.(started)
    })
  }
  return started
}
