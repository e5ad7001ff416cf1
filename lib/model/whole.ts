import { copyFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import * as check from '../config/check.js'
import { Fuse } from '../config/composition.js'
import { refuseExported } from '../config/model-config.js'
import { inFile } from '../config/read-json.js'
import { tokenizerFiles } from '../data/tokenizer-files.js'
import { adaptersProblem } from '../exchange/adapters-form.js'
import { weightsSource } from '../exchange/folder-files.js'
import { warnOfFusion, warnOfWhole } from '../exchange/library-differs.js'
import { defaultHead, isThere, modelClassHead, unlikeHead } from '../exchange/static-heads.js'
import { type BuiltIn, builtIn, fusionPreset, wholeModelJson } from '../exchange/whole-model.js'
import { checkAdapterName, saveParts } from '../exchange/write-folder.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { LoadReport } from '../native/types.js'
import type { Model } from './model.js'
import { shareAgain, sharedGroups } from './sharing.js'

const operation = 'load the model'

/** What a folder's config.json and weights hold beside the base model, which is loaded. */
export async function loadBuiltIn(
  model: Model,
  folder: string,
  json: Readonly<Record<string, unknown>>,
  { unexpected }: LoadReport
): Promise<void> {
  const configFile = join(folder, 'config.json')
  const parts = inFile(configFile, operation, () => builtIn(json))
  // A class with a head keeps it whatever adapters it was given.
  const ofClass = parts?.heads.has(defaultHead) ? undefined : inFile(configFile, operation, () => modelClassHead(json))
  if (ofClass !== undefined && isThere(ofClass, unexpected)) {
    model.addHeadOfFolder(defaultHead, ofClass.config, weightsSource(folder))
    model.headChoice.standIn()
    await nativeCall(() => model.native.loadHead(folder, defaultHead, '', ofClass.layers))
  }
  const unlike = unlikeHead(json, unexpected)
  if (unlike !== undefined && !parts?.heads.has(defaultHead)) warnOfHead(folder, unlike)
  if (parts !== null) await loadParts(model, folder, parts)
}

function warnOfHead(folder: string, head: string): void {
  process.emitWarning(
    `${operation}: the head of ${folder} is left out, and the base model alone is loaded (as with withHead: false): none ` +
      `here is like ${head}.`,
    { code: 'TORCH_ADAPTERS_HEAD_LEFT_OUT' }
  )
}

async function loadParts(model: Model, folder: string, parts: BuiltIn): Promise<void> {
  const { native } = model
  const source = weightsSource(folder)
  for (const [name, config] of parts.adapters) {
    model.addAdapterOfFolder(checkAdapterName(name), config, source)
    await nativeCall(() => native.loadAdapter(folder, name, name))
  }
  for (const group of parts.sharings) shareAgain(model, group)
  for (const [name, { adapters, config }] of parts.fusions) {
    model.addAdapterFusion(Fuse(...adapters), config, { name })
    await nativeCall(() => native.loadFusion(folder, name, name))
    // Python's has cooled down by the time that it is trained.
    nativeCall(() => native.setFusionTemperature(name, 1))
  }
  for (const [name, config] of parts.heads) {
    model.addHeadOfFolder(checkAdapterName(name), config, source)
    await nativeCall(() => native.loadHead(folder, name, name, null))
  }
  const { active, activeHead, skipLayers } = parts
  if (activeHead !== null) model.setActiveAdapters(active, { skipLayers, head: activeHead })
  else if (active !== null) model.setActiveAdapters(active, { skipLayers })
  if (activeHead === null && model.activeHead === defaultHead) model.headChoice.standIn()
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
  const { adapters, adapterFusions: fusions, heads, activeAdapters: active } = model
  warnOfWhole(adapters, model.config)
  for (const [name, fusion] of fusions) warnOfFusion(name, fusion.adapters, adapters, model.config)
  const { headChoice } = model
  // Heads that follow rows come back by the setup.
  const activeHead = headChoice.follows(active) ? null : headChoice.kept
  const sharings = sharedGroups(model)
  const { skippedLayers: skipLayers } = model
  const json = wholeModelJson(model.config, { adapters, fusions, heads, active, activeHead, skipLayers, sharings })
  const names = [adapters, fusions, heads].map((parts) => [...parts.keys()]) as [string[], string[], string[]]
  const writeWeights = (file: string) => nativeCall(() => model.native.saveWhole(file, dtype, ...names))
  await saveParts(folder, 'save the model', [
    { weights: 'model.safetensors', config: 'config.json', json, writeWeights }
  ])
  const { source } = model
  if (source === undefined || source === folder) return
  for (const file of tokenizerFiles) {
    if (existsSync(join(source, file))) copyFileSync(join(source, file), join(folder, file))
  }
}

function checkWritable(model: Model): void {
  const refuse = (problem: string, hint: string): never => {
    throw new AdapterError('ERR_UNSUPPORTED', 'save the model', problem, { hint })
  }
  if (model.config.exported !== null) refuseExported(model.config.exported)
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
    const problem =
      config.method === 'output' ? 'adapters on the last hidden state' : adaptersProblem(config, model.config)
    if (problem !== undefined) refuse(`Python's adapters has no ${problem}: '${name}'`, 'Delete it, or save it alone.')
  }
}
