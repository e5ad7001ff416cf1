import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isPlainObject } from '../config/check.js'
import { readJsonObject } from '../config/read-json.js'
import { modelClassHead } from '../exchange/static-heads.js'
import type { Model } from '../model/model.js'
import { usageError } from './arguments.js'

const nothingAnswers = () =>
  usageError('--adapter is missing: expected an adapter, a --head, or a --model whose folder holds a head')

/** Where nothing but --model's own head is to answer. @throws {AdapterError} ERR_PARSE_ARGS_VALUE: it came without one */
export function requireOwnHead(model: Model): void {
  if (model.heads.size === 0) throw nothingAnswers()
}

/** The same by config.json alone, before weights are fetched and read. What this does not see, requireOwnHead does. */
export async function expectOwnHead(source: string, offline: boolean | undefined): Promise<void> {
  const { isArchive } = await import('./archive-model.js')
  if (isArchive(source)) return
  const { folderOf } = await import('./download-progress.js')
  const file = join(await folderOf(source, 'config', offline), 'config.json')
  if (!existsSync(file)) return
  const json = readJsonObject(file, 'load the model')
  const { prediction_heads: heads } = json
  if (modelClassHead(json) === undefined && !(isPlainObject(heads) && Object.keys(heads).length > 0))
    throw nothingAnswers()
}
