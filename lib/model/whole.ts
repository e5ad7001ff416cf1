import { copyFileSync, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import * as check from '../config/check.js'
import { Fuse } from '../config/composition.js'
import { linearPaths } from '../config/linear-paths.js'
import { inFile } from '../config/read-json.js'
import { tokenizerFiles } from '../data/tokenizer-files.js'
import { adaptersForm, adaptersProblem } from '../exchange/adapters-form.js'
import { mergeSafetensors } from '../exchange/merge-safetensors.js'
import { modelClassHead } from '../exchange/static-heads.js'
import { type BuiltIn, builtIn, fusionPreset, wholeModelJson } from '../exchange/whole-model.js'
import { checkAdapterName, saveParts } from '../exchange/write-folder.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { LoadReport } from '../native/types.js'
import type { Model } from './model.js'
import { shareAgain, sharedGroups } from './sharing.js'

/** As Python's AutoAdapterModel calls the head of a class such as BertForQuestionAnswering. */
const defaultHead = 'default'

const weightsFiles = ['model.safetensors', 'pytorch_model.bin'] as const

/** What a folder's config.json and weights hold beside the base model, which is loaded. */
export async function loadBuiltIn(
  model: Model,
  folder: string,
  json: Readonly<Record<string, unknown>>,
  { unexpected }: LoadReport
): Promise<void> {
  const configFile = join(folder, 'config.json')
  const parts = inFile(configFile, 'load the model', () => builtIn(json))
  const ofClass = parts === null ? modelClassHead(json) : undefined
  const isThere = Object.keys(ofClass?.layers ?? {}).every((module) =>
    unexpected.some((name) => name.startsWith(`${module}.`))
  )
  if (parts === null && (ofClass === undefined || !isThere)) return
  const file = oneFile(folder)
  const { native } = model
  if (ofClass !== undefined) {
    model.addHead(defaultHead, ofClass.config)
    model.headChoice.standIn()
    return await nativeCall(() => native.loadHead(file, defaultHead, '', ofClass.layers))
  }
  if (parts !== null) await loadParts(model, file, parts)
}

async function loadParts(model: Model, file: string, parts: BuiltIn): Promise<void> {
  const { native } = model
  for (const [name, config] of parts.adapters) {
    model.addAdapterOfFolder(checkAdapterName(name), config)
    await nativeCall(() => native.loadAdapter(file, name, name))
  }
  for (const group of parts.sharings) shareAgain(model, group)
  for (const [name, { adapters, config }] of parts.fusions) {
    model.addAdapterFusion(Fuse(...adapters), config, { name })
    await nativeCall(() => native.loadFusion(file, name, name))
    // Python's has cooled down by the time that it is trained.
    nativeCall(() => native.setFusionTemperature(name, 1))
  }
  for (const [name, config] of parts.heads) {
    model.addHead(checkAdapterName(name), config)
    await nativeCall(() => native.loadHead(file, name, name, null))
  }
  if (parts.active !== null) model.setActiveAdapters(parts.active)
  if (parts.activeHead !== null) model.activeHead = parts.activeHead
}

function oneFile(folder: string): string {
  const found = weightsFiles.map((name) => join(folder, name)).find((file) => existsSync(file))
  if (found !== undefined) return found
  throw new AdapterError('ERR_UNSUPPORTED', 'load the model', `the weights of ${folder} lie in several files`, {
    expected: `adapters and heads in one file: ${weightsFiles.join(' or ')}`,
    hint: 'Load it with withHead: false where only the base model is wanted; or save its adapters one by one in Python.'
  })
}

/** The base model with all adapters, fusions and heads in one file, as Python's `model.save_pretrained` writes them. */
export async function saveWhole(
  model: Model,
  folder: string,
  dtype: 'float32' | 'float16' | 'bfloat16'
): Promise<void> {
  check.checkNonEmptyString('folder', folder)
  check.checkOneOf('dtype', dtype, ['float32', 'float16', 'bfloat16'])
  checkWritable(model)
  const { adapters, adapterFusions: fusions, heads, activeAdapters: active, activeHead } = model
  const sharings = sharedGroups(model)
  const json = wholeModelJson(model.config, { adapters, fusions, heads, active, activeHead, sharings })
  const writeWeights = (file: string) => writeAll(model, file, dtype)
  await saveParts(folder, 'save the model', [
    { weights: 'model.safetensors', config: 'config.json', json, writeWeights }
  ])
  const { source } = model
  if (source === undefined || source === folder) return
  for (const file of tokenizerFiles) {
    if (existsSync(join(source, file))) copyFileSync(join(source, file), join(folder, file))
  }
}

async function writeAll(model: Model, file: string, dtype: 'float32' | 'float16' | 'bfloat16'): Promise<void> {
  const { native } = model
  const { prefix } = linearPaths[model.config.modelType]
  const base = `${file}.base`
  const parts = [{ file: base, rename: (name: string) => `${prefix}.${name}` }]
  const add = async (write: (part: string) => Promise<void>) => {
    const part = `${file}.${parts.length}`
    parts.push({ file: part, rename: (name) => name })
    await nativeCall(() => write(part))
  }
  try {
    await nativeCall(() => native.saveBase(base, dtype))
    for (const name of model.adapters.keys())
      await add((part) => native.saveAdapter(part, name, 'safetensors', 'adapterhub'))
    for (const name of model.adapterFusions.keys()) await add((part) => native.saveFusion(part, name, 'safetensors'))
    for (const name of model.heads.keys()) await add((part) => native.saveHead(part, name, 'safetensors'))
    mergeSafetensors(file, parts)
  } finally {
    for (const part of parts) rmSync(part.file, { force: true })
  }
}

function checkWritable(model: Model): void {
  const refuse = (problem: string, hint: string): never => {
    throw new AdapterError('ERR_UNSUPPORTED', 'save the model', problem, { hint })
  }
  if (model.replacements.length > 0) {
    refuse('surgery has replaced modules, which the file has no names for', 'savePretrained writes them.')
  }
  if (model.mergedAdapter !== null) {
    refuse(`'${model.mergedAdapter}' is merged and would be there twice`, 'Call resetAdapter first.')
  }
  for (const [name, { config }] of model.adapterFusions) {
    if (fusionPreset(config) === undefined) {
      refuse(
        `Python's adapters reads no fusion with fields of its own from a model: '${name}'`,
        'saveAdapterFusion writes it.'
      )
    }
  }
  for (const [name, config] of model.adapters) {
    const otherForm = adaptersForm(config) === config ? undefined : "attnMatrices with 'qkv'"
    const problem =
      config.method === 'output' ? 'adapters on the last hidden state' : (adaptersProblem(config) ?? otherForm)
    if (problem !== undefined) refuse(`Python's adapters has no ${problem}: '${name}'`, 'Delete it, or save it alone.')
  }
}
