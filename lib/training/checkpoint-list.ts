import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, sep } from 'node:path'
import { fileError } from '../config/read-json.js'
import { writeSynced } from '../exchange/replace-file.js'
import { AdapterError } from '../native/errors.js'
import { sha256Of } from '../native/hash-file.js'

/**
 * Every other file of a checkpoint with its SHA-256, in the lines that `sha256sum --check` reads. A first line, to it a
 * comment, has the SHA-256 of the others, so that a list which lost its end shows it.
 */
export const listFile = 'checkpoint.sha256'

const titled = (lines: string): string => `# torch-adapters checkpoint ${digest(lines)}\n${lines}`
const line = /^([0-9a-f]{64}) {2}(.+)$/gm

/** Written last: what it lists is whole. */
export async function writeList(folder: string): Promise<void> {
  let lines = ''
  for (const file of filesIn(folder)) lines += `${await sha256Of(join(folder, file))}  ${file}\n`
  writeSynced(join(folder, listFile), titled(lines))
}

/** What is wrong with a checkpoint's files; undefined where each is as it was written. What was added since does no harm. */
export async function findDamage(folder: string): Promise<AdapterError | undefined> {
  try {
    const list = join(folder, listFile)
    if (!existsSync(list)) return incomplete(listFile)
    const listed = parseList(readFileSync(list, 'utf8'))
    if (listed === undefined) return damaged(listFile, 'it is not the list that was written')
    for (const [file, known] of listed) {
      const path = join(folder, file)
      if (!existsSync(path)) return incomplete(file)
      if ((await sha256Of(path)) !== known) return damaged(file, `its SHA-256 is not the one in ${listFile}`)
    }
    return undefined
  } catch (error) {
    return fileError(folder, '', error)
  }
}

function parseList(text: string): [string, string][] | undefined {
  const lines = text.slice(text.indexOf('\n') + 1)
  if (text !== titled(lines)) return undefined
  return Array.from(lines.matchAll(line), ([, digest = '', file = '']): [string, string] => [file, digest])
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file !== listFile && statSync(join(folder, file)).isFile())
    .map((file) => file.split(sep).join('/'))
    .sort()
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

const incomplete = (file: string): AdapterError => new AdapterError('ERR_FILE_NOT_FOUND', '', `${file} is missing`)

const damaged = (file: string, why: string): AdapterError =>
  new AdapterError('ERR_FILE_FORMAT', '', `${file} is damaged: ${why}`)
