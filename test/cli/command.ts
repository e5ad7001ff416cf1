import { cpSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Process, startProcess } from '../support/process.js'

export interface Outcome {
  readonly status: number | null
  readonly output: string
  readonly errors: string
}

export interface CommandOptions {
  /** Standard input. Default: none. */
  readonly input?: string
  /** Called with everything that came on standard error so far. */
  readonly onErrors?: (text: string, kill: (signal: NodeJS.Signals) => void) => void
  /** Beside the environment's own. */
  readonly env?: NodeJS.ProcessEnv
}

/** The command line as users start it. */
export async function command(
  args: readonly string[],
  { onErrors, input, env }: CommandOptions = {}
): Promise<Outcome> {
  const onText = ({ texts, kill }: Process) => onErrors?.(texts.stderr, kill)
  const { ended } = startProcess(process.execPath, ['dist/lib/cli/main.js', ...args], {
    ...{ onText, input },
    ...(env && { env: { ...process.env, ...env } })
  })
  const { code, stdout, stderr } = await ended
  return { status: code, output: stdout, errors: stderr }
}

/** The same, ended by Ctrl-C once the text has come on standard error; it must say that it was interrupted. */
export async function interrupted(args: readonly string[], text: string): Promise<Outcome> {
  let isSent = false
  const outcome = await command(args, {
    onErrors: (errors, kill) => {
      // Once: a second one ends the process at once.
      if (errors.includes(text) && !isSent) kill('SIGINT')
      isSent ||= errors.includes(text)
    }
  })
  if (outcome.status === 130) return outcome
  throw new Error(`not interrupted at '${text}', but ended with ${outcome.status}: ${outcome.errors}`)
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
