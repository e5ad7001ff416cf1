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
