import { copyFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { type AdapterConfig, leftOut } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import { some } from '../config/counted.js'
import type { HeadConfig } from '../config/head-config.js'
import { dependsOnPlacement } from '../config/lora-targets.js'
import { modelConfigToJson } from '../config/model-config.js'
import { isOwnHead } from '../config/own-head.js'
import { type ProblemType, problemTypes } from '../config/peft-config.js'
import { warnOnce } from '../config/warn-once.js'
import { tokenizerFiles } from '../data/tokenizer-files.js'
import { type HeadFolder, headOfModel, readAdapterFolder, readHeadFolder } from '../exchange/adapter-folder.js'
import { adaptersProblem, isSplit } from '../exchange/adapters-form.js'
import { checkBaseModel, checkSamePlacement } from '../exchange/base-model.js'
import {
  type FolderFormat,
  folderFormats,
  modelWeightFiles,
  noHeadHere,
  weightsSource,
  withoutHead
} from '../exchange/folder-files.js'
import { fromLibraryPlaces } from '../exchange/gated-places.js'
import { type DownloadOptions, downloadKeys, resolveFolder } from '../exchange/hub.js'
import { checkLibraryPlace, warnOfDifference } from '../exchange/library-differs.js'
import { isPeftFolder } from '../exchange/peft-folder.js'
import { type PeftHeadPlan, peftJson } from '../exchange/peft-write.js'
import type { SharedGroup } from '../exchange/shared-group.js'
import { defaultHead } from '../exchange/static-heads.js'
import { checkAdapterName, type SavedPart, saveFolder, saveParts } from '../exchange/write-folder.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { KeyDialect, WeightsFormat } from '../native/types.js'
import { type ClassOptions, classFolder } from './class-state.js'
import { loadTogether } from './load-together.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import { notesClass, readPeftAdapter, savePeftAdapter } from './peft-files.js'
import { refuseHeadSurgery, warnOfSurgery } from './saved-surgery.js'
import { checkKnown } from './setup.js'
import { shareAgain, sharedGroups } from './sharing.js'
import { checkLayerList } from './skip-layers.js'
import { withStandIns } from './stand-in.js'
import { hasSurgeryInHead, writeSurgery } from './surgery-record.js'

export interface SaveAdapterOptions {
  /**
   * Which Python library is to load the folder: 'adapters' (AdapterHub) or 'peft' (Hugging Face's PEFT: LoRA, DoRA, IA³, VeRA,
   * and prefixes and prompts in its own form; the head goes into its file, as the class of this model for the task keeps it).
   * An adapter without a head of its own is for a class that writes (CAUSAL_LM) where the base model's own words answer, or
   * where it came from such a folder. Default 'adapters'.
   */
  readonly library?: 'adapters' | 'peft' | undefined
  /** 'safetensors', or a PyTorch checkpoint as 'bin' (the adapter library's file name) or 'pt'. Default 'safetensors'. */
  readonly format?: FolderFormat | undefined
  /** Names inside the adapter library's file: 'adapterhub' (adapter_down.0.weight) or 'plain' (down_project.weight). Default 'adapterhub'. */
  readonly dialect?: KeyDialect | undefined
  /** Also the head of the adapter's name, where there is one. Default true. */
  readonly withHead?: boolean | undefined
}

export interface LoadAdapterOptions extends DownloadOptions {
  /** Name here. Default: the folder's. */
  readonly as?: string | undefined
  /** true: also the folder's head, which must be there; false: not. Default: where there is one. */
  readonly withHead?: boolean | undefined
  /**
   * `problem_type` of the classifier in a folder of PEFT's, where PEFT has no field for it. Default: what this library wrote
   * beside it, or one label a row.
   */
  readonly problemType?: ProblemType | undefined
  /** `leave_out`: layers, from 0, that the adapter is not loaded into (AdapterDrop). Default: none. */
  readonly leaveOut?: readonly number[] | undefined
  /** Replace an adapter or head of this name. Default false: an error. */
  readonly overwriteOk?: boolean | undefined
  /** Make it the active adapter. Default false. */
  readonly setActive?: boolean | undefined
}

export type SaveHeadOptions = Pick<SaveAdapterOptions, 'format'>
export type LoadHeadOptions = Omit<LoadAdapterOptions, 'withHead' | 'setActive' | 'leaveOut' | 'problemType'>

const dialects = ['adapterhub', 'plain'] as const
const libraries = ['adapters', 'peft'] as const

export const nativeFormat = (format: FolderFormat): WeightsFormat => (format === 'safetensors' ? 'safetensors' : 'bin')

export async function saveAdapter(
  model: Model,
  folder: string,
  name: string,
  options: SaveAdapterOptions
): Promise<void> {
  check.checkNonEmptyString('folder', folder)
  checkOptions(options, ['library', 'format', 'dialect', 'withHead'])
  checkKnown('name', name, model.adapters)
  const format = check.checkOneOf('format', options.format ?? 'safetensors', folderFormats)
  const { withHead = true } = options
  if (check.checkOneOf('library', options.library ?? 'adapters', libraries) === 'peft') {
    if (options.dialect !== undefined) throw check.valueError('dialect', "PEFT's names are its own; leave it out")
    return await savePeftAdapter(model, folder, name, { format, withHead })
  }
  const dialect = check.checkOneOf('dialect', options.dialect ?? 'adapterhub', dialects)
  const config = model.adapters.get(name)
  if (config === undefined) return
  checkLibraryHas(model, name, config)
  warnOfDifference(name, config, model.config)
  warnOfSurgery(model, name, 'adapters')
  const { native } = model
  await saveFolder(folder, {
    model: model.config,
    format,
    adapter: {
      name,
      config,
      sharing: sharedGroups(model).find(({ adapters }) => adapters.includes(name)),
      writeWeights: (file) => nativeCall(() => native.saveAdapter(file, name, nativeFormat(format), dialect))
    },
    head: withHead ? headPart(model, name, format) : undefined
  })
}

/** For the library that has the adapter; a head that only AdapterHub's files can hold stands beside PEFT's in such files. */
export async function saveAnyAdapter(
  model: Model,
  folder: string,
  name: string,
  { format }: Pick<SaveAdapterOptions, 'format'> = {}
): Promise<void> {
  const config = model.adapters.get(name)
  const isWhole = config !== undefined && adaptersProblem(config, model.config) === undefined && !isSplit(config)
  const isPlain = !hasSurgeryInHead(model, name)
  if (config === undefined || isWhole) {
    return await model.saveAdapter(folder, name, { format, withHead: isPlain })
  }
  const hasHead = model.heads.has(name) && !isOwnHead(model.heads.get(name))
  await model.saveAdapter(folder, name, { library: 'peft', format, withHead: !hasHead })
  if (hasHead && isPlain) await model.saveHead(folder, name, { format })
}

/**
 * For what saves adapters later on, when they have learned: one that no folder holds is an error now, and where nothing is
 * to be saved yet a warning.
 */
export function checkSavable(model: Model, saves: boolean): void {
  const alone = new Map<string, string[]>()
  for (const [name, config] of model.adapters) {
    const problem = adaptersProblem(config, model.config)
    if (problem === undefined || isForPeft(model, config)) continue
    const why = `the adapter library has no ${problem}, and PEFT does not have it either`
    const inPeft = doraForPeft(model, config)
    if (!saves) {
      const whole = inPeft === undefined ? why : `${why}. ${inPeft}`
      alone.set(whole, [...(alone.get(whole) ?? []), `'${name}'`])
      continue
    }
    throw new AdapterError('ERR_UNSUPPORTED', 'train', `no checkpoint could hold '${name}': ${why}`, {
      expected: 'a config that one of the two libraries computes',
      hint: `${inPeft ?? "Change it, or train with saveStrategy: 'no'"}.`
    })
  }
  for (const [why, names] of alone)
    warnOnce(
      model,
      `train: no folder could hold ${some(names)}: ${why}. What is learned stays in this process.`,
      'TORCH_ADAPTERS_NO_FOLDER'
    )
}

/** The DoRA of the adapter library is none of PEFT's, whose own may stand at the same Linears. */
function doraForPeft(model: Model, config: AdapterConfig): string | undefined {
  if (config.method !== 'lora' || config.useDora !== true) return undefined
  if (!isForPeft(model, config.replace({ useDora: 'peft' }))) return undefined
  return `DoRA in PEFT's form works there: "lora[use_dora='peft']"`
}

function isForPeft(model: Model, config: AdapterConfig): boolean {
  try {
    peftJson(config, model.config, null)
    return true
  } catch {
    return false
  }
}

function checkLibraryHas(model: Model, name: string, config: AdapterConfig): void {
  const problem = adaptersProblem(config, model.config)
  if (problem === undefined) return
  const dora = doraForPeft(model, config)
  const otherwise = dora && `${dora}, saved for PEFT: library: 'peft'.`
  throw new AdapterError('ERR_UNSUPPORTED', `save the adapter '${name}'`, `the adapter library has no ${problem}`, {
    expected: 'a config that Python computes as this library does',
    hint: isForPeft(model, config)
      ? "Save it for PEFT: library: 'peft'."
      : (otherwise ?? 'PEFT does not have it either: train it with other fields.')
  })
}

export async function saveHead(model: Model, folder: string, name: string, options: SaveHeadOptions): Promise<void> {
  check.checkNonEmptyString('folder', folder)
  checkOptions(options, ['format'])
  checkKnown('name', name, model.heads)
  const format = check.checkOneOf('format', options.format ?? 'safetensors', folderFormats)
  if (isOwnHead(model.heads.get(name))) {
    throw new AdapterError('ERR_UNSUPPORTED', 'save the head', `the head '${name}' is the network's own`, {
      expected: 'a head that was added to the network',
      hint: 'Its weights are in the archive; what an adapter does to them saveAdapter writes.'
    })
  }
  await saveFolder(folder, { model: model.config, format, head: headPart(model, name, format) })
}

/** None for the network's own head, which the archive holds. */
function headPart(model: Model, name: string, format: FolderFormat): SavedPart<HeadConfig> | undefined {
  const config = model.heads.get(name)
  const { native } = model
  if (config === undefined || isOwnHead(config)) return undefined
  refuseHeadSurgery(model, name)
  return { name, config, writeWeights: (file) => nativeCall(() => native.saveHead(file, name, nativeFormat(format))) }
}

export async function loadAdapter(model: Model, source: string, options: LoadAdapterOptions): Promise<string> {
  checkOptions(options, ['as', 'withHead', 'problemType', 'leaveOut', 'overwriteOk', 'setActive', ...downloadKeys])
  const { as, withHead = true, problemType, leaveOut = [], overwriteOk = false, setActive = false, ...hub } = options
  if (problemType !== undefined) check.checkOneOf('problemType', problemType, problemTypes)
  const dropped = checkLayerList('leaveOut', leaveOut, model)
  if (as !== undefined) checkAdapterName(as, 'as')
  const folder = await resolveFolder(check.checkNonEmptyString('source', source), 'adapter', hub)
  const found = isPeftFolder(folder)
    ? await readPeftAdapter(model, folder, source, { withHead, problemType })
    : readAdapterHub(model, folder, withHead, problemType)
  if (options.withHead === true && found.head === null) throw withoutHead(folder)
  const name = as ?? found.name
  const adapter = dropped.length === 0 ? found : withoutLayers(model, found, dropped)
  await placeOver(model, name, { adapter, head: found.head }, overwriteOk, 'loadAdapter')
  if (adapter.forClass != null) notesClass(adapter.config, adapter.forClass)
  if (name === found.name && found.sharing != null) shareAgain(model, found.sharing)
  if (setActive) model.setActiveAdapters(name)
  return name
}

/** The whole adapter is read, as strictly as ever, and what stands in the other layers is taken over. */
function withoutLayers(model: Model, found: FoundAdapter, layers: readonly number[]): FoundAdapter {
  const load = async (name: string) =>
    await withStandIns([name], 'whole', async (other) => {
      const whole = other(name)
      model.addAdapterOfFolder(whole, found.config, weightsSource(found.weightsFile))
      try {
        await found.load(whole)
        nativeCall(() => model.native.averageAdapters(name, 1, [{ name: whole, weight: 1, scale: 1 }], 'linear'))
      } finally {
        model.deleteAdapter(whole)
      }
    })
  return { ...found, config: leftOut(found.config, layers, model.config.numHiddenLayers), load }
}

function readAdapterHub(
  model: Model,
  folder: string,
  withHead: boolean,
  problemType: ProblemType | undefined
): FoundAdapter {
  if (problemType !== undefined) throw check.valueError('problemType', "a folder of AdapterHub's says it; leave it out")
  const found = readAdapterFolder(folder, withHead)
  checkBaseModel(found, model.config)
  const { name: from, head, sharing, weightsFile } = found
  const config = fromLibraryPlaces(found.config, model.config)
  checkLibraryPlace(found, config, model.config)
  checkSamePlacement(found, dependsOnPlacement(config, model.config))
  return {
    name: from,
    config,
    head: headOfModel(head, model.config),
    sharing,
    weightsFile,
    load: (name) => nativeCall(() => model.native.loadAdapter(weightsFile, name, from))
  }
}

export async function loadHead(model: Model, source: string, options: LoadHeadOptions): Promise<string> {
  checkOptions(options, ['as', 'overwriteOk', ...downloadKeys])
  const { as, overwriteOk = false, ...hub } = options
  if (as !== undefined) checkAdapterName(as, 'as')
  const folder = await resolveFolder(check.checkNonEmptyString('source', source), 'head', hub)
  const head = headOfModel(readHeadFolder(folder), model.config)
  if (head === null) throw noHeadHere(folder)
  checkBaseModel(head, model.config)
  // A class with a head of its own gives it no name.
  const name = as ?? head.name ?? defaultHead
  await placeOver(model, name, { adapter: null, head }, overwriteOk, 'loadHead')
  return name
}

/** An adapter that a folder holds, for this model. */
export interface FoundAdapter {
  /** The folder's own name for it. */
  readonly name: string
  readonly config: AdapterConfig
  readonly head: HeadFolder | null
  /** The group with which it had parameters in common when it was saved. */
  readonly sharing?: SharedGroup | null
  /** The class that the folder is for, where it holds nothing of that class's head. */
  readonly forClass?: PeftHeadPlan | null
  readonly weightsFile: string
  /** Reads its weights into the adapter of this name, which is there already. */
  readonly load: (name: string) => Promise<void>
}

interface Parts {
  readonly adapter: FoundAdapter | null
  readonly head: HeadFolder | null
}

/** Puts what a folder holds into the model; what is there already goes only when the new one has proved to fit. */
async function placeOver(
  model: Model,
  name: string,
  parts: Parts,
  overwriteOk: boolean,
  operation: string
): Promise<void> {
  const taken = [
    ...(parts.adapter !== null && model.adapters.has(name) ? ['adapter'] : []),
    ...(parts.head !== null && model.heads.has(name) ? ['head'] : [])
  ]
  if (taken.length > 0 && !overwriteOk) {
    throw check.valueError(
      operation,
      `the ${taken[0]} '${name}' exists already; pass overwriteOk: true to replace it, or another name with as`
    )
  }
  if (taken.length > 0) {
    await withStandIns([name], 'loading', async (other) => {
      const chosen = model.keepHeadChoice()
      await place(model, other(name), parts)
      remove(model, other(name), parts)
      chosen()
    })
  }
  await place(model, name, parts)
}

async function place(model: Model, name: string, { adapter, head }: Parts): Promise<void> {
  const { native } = model
  await loadTogether(model, async (loaded) => {
    if (adapter !== null) {
      model.addAdapterOfFolder(name, adapter.config, weightsSource(adapter.weightsFile))
      loaded.came(`adapter '${name}'`, () => model.deleteAdapter(name))
      await adapter.load(name)
    }
    if (head === null) return
    model.addHeadOfFolder(name, head.config, weightsSource(head.weightsFile))
    loaded.came(`head '${name}'`, () => model.deleteHead(name))
    await nativeCall(() => native.loadHead(head.weightsFile, name, head.name ?? '', head.layers, head.folded))
  })
}

function remove(model: Model, name: string, { adapter, head }: Parts): void {
  if (adapter !== null && model.adapters.has(name)) model.deleteAdapter(name)
  if (head !== null && model.heads.has(name)) model.deleteHead(name)
}

export interface SavePretrainedOptions extends ClassOptions {
  /** Default 'float32'. */
  readonly dtype?: 'float32' | 'float16' | 'bfloat16' | undefined
  /**
   * 'safetensors' (the default): model.safetensors, where a tensor of several names stands once, as transformers'
   * save_pretrained has it. 'bin': pytorch_model.bin with every name, as `torch.save(model.state_dict(), …)` writes it, for
   * `load_state_dict(torch.load(file), strict=True)`.
   */
  readonly format?: 'safetensors' | 'bin' | undefined
}

export async function savePretrained(model: Model, folder: string, options: SavePretrainedOptions): Promise<void> {
  checkOptions(options, ['dtype', 'format', 'modelClass', 'head'])
  const { modelClass, head } = options
  check.checkNonEmptyString('folder', folder)
  const dtype = check.checkOneOf('dtype', options.dtype ?? 'float32', ['float32', 'float16', 'bfloat16'] as const)
  if (modelClass === undefined && head !== undefined) throw check.valueError('head', 'is for a modelClass; name one')
  const format = check.checkOneOf('format', options.format ?? 'safetensors', ['safetensors', 'bin'] as const)
  const { native } = model
  const ofClass = modelClass === undefined ? null : classFolder(model, { modelClass, head })
  const json = `${JSON.stringify(ofClass?.json ?? modelConfigToJson(model.config), null, 2)}\n`
  const writeWeights = (file: string) =>
    nativeCall(() =>
      ofClass === null ? native.saveBase(file, dtype, format) : native.saveState(file, dtype, format, ofClass.names)
    )
  const weights = modelWeightFiles[format]
  await saveParts(folder, 'save the model', [{ weights, config: 'config.json', json, writeWeights }])
  writeSurgery(folder, model.replacements)
  const { source } = model
  if (source === undefined || source === folder) return
  for (const file of tokenizerFiles) {
    if (existsSync(join(source, file))) copyFileSync(join(source, file), join(folder, file))
  }
}
