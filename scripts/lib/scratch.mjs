// Where programs that a script starts keep what they write for a while: a folder of this run, which goes with it, whatever is
// killed in between.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export function useScratch() {
  const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-run-'))
  for (const name of ['TMPDIR', 'TEMP', 'TMP']) process.env[name] = folder
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }))
}
