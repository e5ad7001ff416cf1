import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { tokenizerFiles } from '../data/tokenizer-files.js'
import { AdapterError } from '../native/errors.js'
import {
  adapterConfigFile,
  adapterWeightFiles,
  fusionConfigFile,
  fusionWeightFiles,
  headConfigFile,
  headWeightFiles,
  peftWeightFiles,
  surgeryFile
} from './folder-files.js'
import type { HubFile } from './hub-download.js'

/** 'config': a model's, to learn of its class what is worth fetching. */
export type FolderKind = 'model' | 'config' | 'adapter' | 'head' | 'fusion'

/** A repository holds the same weights for many frameworks; only these files are ever read. */
const always: Readonly<Record<FolderKind, readonly string[]>> = {
  model: ['config.json', surgeryFile, ...tokenizerFiles],
  config: ['config.json'],
  adapter: [adapterConfigFile, headConfigFile],
  head: [headConfigFile],
  fusion: [fusionConfigFile]
}

const required: Readonly<Record<FolderKind, string>> = {
  model: 'config.json',
  config: 'config.json',
  adapter: adapterConfigFile,
  head: headConfigFile,
  fusion: fusionConfigFile
}

/** Sets of weights, the best first; of each only the first that is there is taken. */
const weights: Readonly<Record<FolderKind, readonly (readonly RegExp[])[]>> = {
  model: [
    [
      /^model\.safetensors$/,
      /^model\.safetensors\.index\.json$|^model-\d{5}-of-\d{5}\.safetensors$/,
      /^pytorch_model\.bin$/,
      /^pytorch_model\.bin\.index\.json$|^pytorch_model-\d{5}-of-\d{5}\.bin$/
    ]
  ],
  config: [],
  adapter: [
    [...Object.values(adapterWeightFiles), ...Object.values(peftWeightFiles)].map(exactly),
    Object.values(headWeightFiles).map(exactly)
  ],
  head: [Object.values(headWeightFiles).map(exactly)],
  fusion: [Object.values(fusionWeightFiles).map(exactly)]
}

function exactly(name: string): RegExp {
  return new RegExp(`^${name.replaceAll('.', '\\.')}$`)
}

/** The files of a repository that a folder of this kind needs. */
export function selectFiles(listed: readonly HubFile[], kind: FolderKind): readonly HubFile[] {
  const names = listed.map(({ path }) => path)
  if (!names.includes(required[kind])) throw notThisKind(names, kind)
  const wanted = new Set([...always[kind], ...chosenWeights(names, kind)])
  return listed.filter(({ path }) => wanted.has(path))
}

function chosenWeights(names: readonly string[], kind: FolderKind): string[] {
  return weights[kind].flatMap((sets) => {
    const found = sets.map((pattern) => names.filter((name) => pattern.test(name)))
    return found.find((set) => set.length > 0) ?? []
  })
}

function notThisKind(names: readonly string[], kind: FolderKind): AdapterError {
  return new AdapterError(
    'ERR_HUB_NOT_FOUND',
    'fetch from the hub',
    `the repository holds no ${kind === 'config' ? 'model' : kind}`,
    {
      expected: required[kind],
      got: names.length === 0 ? 'no files' : names.slice(0, 12).join(', '),
      hint:
        required[kind] === 'config.json'
          ? 'An adapter is loaded with loadAdapter.'
          : 'A model is loaded with AutoModel.fromPretrained.'
    }
  )
}

/** Whether a snapshot has its config and weights: another program may have fetched only a part of it. */
export function isComplete(folder: string, kind: FolderKind): boolean {
  if (!existsSync(join(folder, required[kind]))) return false
  // A link whose file is gone is still listed.
  const names = readdirSync(folder).filter((name) => existsSync(join(folder, name)))
  const [main] = weights[kind]
  if (main === undefined) return true
  const found = main.map((pattern) => names.filter((name) => pattern.test(name))).find((set) => set.length > 0) ?? []
  const shards = found.filter((name) => /-\d{5}-of-\d{5}\./.test(name))
  const expected = Number(/-of-(\d{5})\./.exec(shards[0] ?? '')?.[1] ?? 0)
  return found.length > 0 && shards.length === expected
}
