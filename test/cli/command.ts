import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Outcome {
  readonly status: number | null
  readonly output: string
  readonly errors: string
}

export interface CommandOptions {
  /** Called with everything that came on standard error so far. */
  readonly onErrors?: (text: string, kill: (signal: NodeJS.Signals) => void) => void
}

/** The command line as users start it. */
export async function command(args: readonly string[], { onErrors }: CommandOptions = {}): Promise<Outcome> {
  const child = spawn(process.execPath, ['dist/lib/cli/main.js', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
    onErrors?.(errors, (signal) => child.kill(signal))
  })
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { status, output, errors }
}

export const fixtures = 'test/parity/fixtures'

export function scratch(): string {
  return mkdtempSync(join(tmpdir(), 'torch-adapters-cli-'))
}

/** A folder of Python's that may be changed. */
export function folderCopy(name: string): string {
  const copy = join(scratch(), name)
  cpSync(join(fixtures, 'folders', name), copy, { recursive: true })
  return copy
}
