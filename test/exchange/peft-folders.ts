import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AutoModel } from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'

// Folders that PEFT wrote, and copies of them.

export const folderOf = (name: string) => join(fixtures, 'peft', name)
export const open = (name: string) => AutoModel.fromPretrained(join(fixtures, 'models', name), { withHead: false })

export function scratch(t: { teardown: (end: () => void) => void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'peft-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A copy of a folder that PEFT wrote, with some fields of its config changed. */
export function changed(t: Parameters<typeof scratch>[0], name: string, fields: object): string {
  const folder = join(scratch(t), name)
  cpSync(folderOf(name), folder, { recursive: true })
  const file = join(folder, 'adapter_config.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...fields }))
  return folder
}
