import { existsSync, statSync } from 'node:fs'
import { isPlainObject } from '../config/check.js'
import { checkPlacement, type Placement } from '../config/exported-placement.js'
import { TextTokenizer } from '../data/tokenizer.js'
import { hasTokenizer } from '../data/tokenizer-files.js'
import { isExportArchive } from '../exchange/export-archive.js'
import { AutoModel } from '../model/auto-model.js'
import type { Model } from '../model/model.js'
import type { Device } from '../model/options.js'
import { fromOptions, usageError } from './arguments.js'

/** What a --model that is an archive of torch.export may have beside it. */
export interface ArchiveValues {
  readonly tokenizer?: string | undefined
  readonly placement?: string | undefined
  readonly trunk?: string
}

/** Whether a --model is an archive. One that is called so and is not there is a mistake, and no hub id. */
export function isArchive(source: string): boolean {
  if (existsSync(source)) return statSync(source).isFile() && isExportArchive(source)
  if (source.endsWith('.pt2')) throw usageError(`--model: there is no file ${source}`)
  return false
}

/** Where --model is no archive: undefined. Mistakes in the options show before anything is loaded. */
export async function loadArchive(
  source: string,
  values: ArchiveValues,
  options: { readonly device: Device; readonly seed: number | undefined }
): Promise<Model | undefined> {
  if (!isArchive(source)) {
    for (const name of ['tokenizer', 'placement'] as const)
      if (values[name] !== undefined)
        throw usageError(`--${name}: is for a --model that is an archive of torch.export, which ${source} is not`)
    return undefined
  }
  if (values.trunk === 'bfloat16') throw usageError('--trunk: an archive of torch.export computes in float32')
  const placement = values.placement === undefined ? 'auto' : placementOf(values.placement)
  const tokenizer = values.tokenizer === undefined ? undefined : tokenizerIn(values.tokenizer)
  return await AutoModel.fromExported(source, { ...options, placement, tokenizer })
}

/** 'auto', or JSON: {"attention": PATTERN, "feedForward": PATTERN}. */
export function placementOf(text: string): Placement {
  if (text === 'auto') return text
  return fromOptions(() => {
    let given: unknown
    try {
      given = JSON.parse(text)
    } catch {
      given = text
    }
    if (!isPlainObject(given))
      throw usageError(`--placement: expected auto, or JSON such as {"feedForward": "h.*.mlp"}, got '${text}'`)
    return checkPlacement('--placement', given)
  })
}

function tokenizerIn(folder: string): TextTokenizer {
  if (existsSync(folder) && hasTokenizer(folder)) return TextTokenizer.fromFolder(folder)
  const what = existsSync(folder) ? 'has none' : 'does not exist'
  throw usageError(`--tokenizer: expected a folder with tokenizer.json or a vocabulary, got ${folder}, which ${what}`)
}
