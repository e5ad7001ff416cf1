import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { some } from '../config/counted.js'
import { AdapterError } from '../native/errors.js'
import type { WeightsSource } from '../native/types.js'

/** safetensors; a PyTorch checkpoint under the adapter library's name; or the same under a name of one's own. */
export const folderFormats = ['safetensors', 'bin', 'pt'] as const

export type FolderFormat = (typeof folderFormats)[number]

export const adapterConfigFile = 'adapter_config.json'
export const headConfigFile = 'head_config.json'

/** In the order in which they are looked for. `bin` is what Python writes unless told otherwise. */
export const adapterWeightFiles: Readonly<Record<FolderFormat, string>> = {
  safetensors: 'adapter.safetensors',
  bin: 'pytorch_adapter.bin',
  pt: 'adapter.pt'
}

export const headWeightFiles: Readonly<Record<FolderFormat, string>> = {
  safetensors: 'model_head.safetensors',
  bin: 'pytorch_model_head.bin',
  pt: 'model_head.pt'
}

/** Of Hugging Face's PEFT, whose folders have the same adapterConfigFile. It knows no third name. */
export const peftWeightFiles: Readonly<Record<Exclude<FolderFormat, 'pt'>, string>> = {
  safetensors: 'adapter_model.safetensors',
  bin: 'adapter_model.bin'
}

/** Of a whole model, as transformers looks for them. */
export const modelWeightFiles = { safetensors: 'model.safetensors', bin: 'pytorch_model.bin' } as const

export const setupConfigFile = 'adapter_setup.json'
export const fusionConfigFile = 'adapter_fusion_config.json'

export const fusionWeightFiles: Readonly<Record<FolderFormat, string>> = {
  safetensors: 'model_adapter_fusion.safetensors',
  bin: 'pytorch_model_adapter_fusion.bin',
  pt: 'model_adapter_fusion.pt'
}

/** What parameters are about to be loaded from, with its size: that of a folder is all its files'. */
export function weightsSource(path: string): WeightsSource {
  const found = statSync(path, { throwIfNoEntry: false })
  return { path, bytes: found?.isDirectory() === true ? folderBytes(path) : (found?.size ?? 0) }
}

/** Of a folder's own files together; 0 where it is not there. */
export function folderBytes(folder: string): number {
  const names = existsSync(folder) ? readdirSync(folder) : []
  return names.reduce((sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0), 0)
}

/** The names that a kind of weights has, by format. */
export type WeightFiles = { readonly [F in FolderFormat]?: string }

/** The first of the files that is there, with its format. */
export function findWeights(
  folder: string,
  files: WeightFiles
): { readonly file: string; readonly format: FolderFormat } | undefined {
  for (const format of folderFormats) {
    const name = files[format]
    if (name === undefined) continue
    const file = join(folder, name)
    if (existsSync(file)) return { file, format }
  }
  return undefined
}

/** What a folder is where its files show it, and which call and option of the command line take it. */
function whatItIs(names: readonly string[]): string | undefined {
  const has = (...files: string[]) => files.some((file) => names.includes(file))
  if (has(setupConfigFile)) return 'a whole setup (loadAdapterSetup, --setup); its adapters have folders in it'
  if (has(fusionConfigFile))
    return 'an AdapterFusion (loadAdapterFusion, --setup with the folder of its setup around it)'
  if (has(adapterConfigFile)) {
    if (has(...Object.values(peftWeightFiles))) return "an adapter of PEFT's, with its head (loadAdapter, --adapter)"
    return has(...Object.values(adapterWeightFiles)) ? 'an adapter (loadAdapter, --adapter)' : undefined
  }
  if (has(...Object.values(peftWeightFiles))) return 'a PEFT adapter without its config'
  if (has(...Object.values(adapterWeightFiles)))
    return `an adapter without its ${adapterConfigFile}: save or download the folder again`
  if (has('config.json', 'model.safetensors', 'pytorch_model.bin')) return 'a model (AutoModel.fromPretrained, --model)'
  if (has(headConfigFile)) return 'a head alone (loadHead, --head)'
  return has(surgeryFile) ? 'what surgery put into a model (loadSurgery)' : undefined
}

const itLooksLike = (stranger: string | undefined): string | undefined => stranger && `It looks like ${stranger}.`

export const noAdapterHere = (folder: string, files: WeightFiles = adapterWeightFiles): AdapterError =>
  nothingHere(folder, 'adapter', adapterConfigFile, files)

export const noHeadHere = (folder: string): AdapterError => nothingHere(folder, 'head', headConfigFile, headWeightFiles)

/** @param weights the file, where it is the config that is not there */
export function halfHead(folder: string, weights: string | undefined): AdapterError {
  return new AdapterError('ERR_FILE_NOT_FOUND', 'read the head folder', `half of the head in ${folder} is missing`, {
    expected: `${headConfigFile} and one of ${Object.values(headWeightFiles).join(', ')}`,
    got: weights === undefined ? `${headConfigFile} without weights` : `${basename(weights)} without ${headConfigFile}`,
    hint: 'Save or download the folder again, or load the adapter without its head (withHead: false).'
  })
}

/** Of an adapter's folder, where `withHead: true` asks for one. */
export function withoutHead(folder: string): AdapterError {
  return new AdapterError('ERR_FILE_NOT_FOUND', 'read the head folder', `${folder} holds an adapter without a head`, {
    expected: 'a head, which withHead: true asks for',
    got: readdirSync(folder).slice(0, 12).join(', '),
    hint: 'Leave withHead out, which loads a head where there is one, or save the folder again with its head.'
  })
}

export const noFusionHere = (folder: string): AdapterError =>
  nothingHere(folder, 'fusion', fusionConfigFile, fusionWeightFiles)

/** Of a checkpoint, or a folder of several. */
function insideHint(folder: string, kind: string, inside: readonly string[]): string {
  const paths = inside.map((name) => join(folder, name))
  return inside.length === 1 ? `Its ${kind} is in ${paths[0]}.` : `Each ${kind} in it has a folder: ${some(paths)}.`
}

export const noSetupHere = (folder: string): AdapterError => nothingHere(folder, 'setup', setupConfigFile, {})

function nothingHere(folder: string, kind: string, config: string, weights: WeightFiles): AdapterError {
  const operation = `read the ${kind} folder`
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    const what = existsSync(folder) ? 'is not a folder' : 'does not exist'
    return new AdapterError('ERR_FILE_NOT_FOUND', operation, `${folder} ${what}`, { hint: 'Check the path.' })
  }
  const names = readdirSync(folder)
  const files = Object.values(weights)
  const isHalf = names.includes(config) && files.length > 0
  // A head beside a config is that of what is looked for.
  const others = names.filter((name) => name !== config && !(isHalf && name === headConfigFile))
  const stranger =
    itLooksLike(whatItIs(others)) ??
    (isHalf ? `${config} is there, the weights are not: save or download the folder again.` : undefined)
  const inside = names.filter((name) => existsSync(join(folder, name, config)))
  const held = names.length === 0 ? 'nothing' : names.slice(0, 12).join(', ')
  return new AdapterError('ERR_FILE_NOT_FOUND', operation, `${folder} holds no ${kind}`, {
    expected: files.length === 0 ? config : `${config} and one of ${files.join(', ')}`,
    got: held,
    hint: stranger ?? (inside.length > 0 ? insideHint(folder, kind, inside) : 'Check the path.')
  })
}

/** For a folder that is there without a config.json. */
export function noModelHere(folder: string): AdapterError {
  return new AdapterError('ERR_FILE_NOT_FOUND', 'load the model', `${join(folder, 'config.json')} does not exist`, {
    hint: itLooksLike(whatItIs(readdirSync(folder))) ?? 'Check the path.'
  })
}

/** Which modules of a saved model surgery replaced, and by what. */
export const surgeryFile = 'surgery.json'
