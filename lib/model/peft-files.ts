import type { AdapterConfig } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import { some } from '../config/counted.js'
import { prefixOf } from '../config/linear-paths.js'
import { isOwnHead } from '../config/own-head.js'
import type { ProblemType } from '../config/peft-config.js'
import { headOfModel, readHeadFolder } from '../exchange/adapter-folder.js'
import { adapterConfigFile, type FolderFormat, peftWeightFiles } from '../exchange/folder-files.js'
import { peftAdapterConfig } from '../exchange/peft-adapter.js'
import { checkPeftBase } from '../exchange/peft-base.js'
import { headApart, ownHeadModules } from '../exchange/peft-class.js'
import { type PeftFolder, readPeftFolder } from '../exchange/peft-folder.js'
import {
  checkStoredModules,
  classWithoutHead,
  headModules,
  peftHead,
  storedInBase,
  storedWhole
} from '../exchange/peft-head.js'
import { type MultiheadForms, multiheadForms, passedBy } from '../exchange/peft-multihead.js'
import { baseLayers, type OwnModules, passedModules, peftPooler, zeroModules } from '../exchange/peft-targets.js'
import { isOwnWords, type PeftHeadPlan, peftHeadPlan, peftJson, peftParts, wordsPlan } from '../exchange/peft-write.js'
import { defaultHead } from '../exchange/static-heads.js'
import { warnOfWindow } from '../exchange/windowed-prefix.js'
import { checkAdapterName, saveParts } from '../exchange/write-folder.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { FoundAdapter } from './exchange.js'
import { headOfRow } from './head-rule.js'
import type { Model } from './model.js'
import { refuseHeadSurgery, warnOfSurgery } from './saved-surgery.js'

/** Adapters of folders of a class whose head the folder does not hold, such as the base model's own words: written back as such. */
const ofClass = new WeakMap<AdapterConfig, PeftHeadPlan>()

/** @param config as the model has it, which lives as long as the adapter does */
export function notesClass(config: AdapterConfig, plan: PeftHeadPlan): void {
  ofClass.set(config, plan)
}

function classOfFolder(folder: PeftFolder, model: Model): PeftHeadPlan | null {
  if (folder.config.taskType === wordsPlan.task) return wordsPlan
  const modelClass = classWithoutHead(folder, model.config)
  return modelClass === undefined ? null : { task: null, modelClass, layers: {} }
}

/** Modules of a model by their paths below it. */
function modulesOf(model: Model): OwnModules & { readonly paths: readonly string[] } {
  const { exported } = model.config
  // In Python names of an exported network have nothing in front.
  const start = exported === null ? prefixOf(model.config) : exported.prefix
  const below = (name: string) => (name.startsWith(`${start}.`) ? name.slice(start.length + 1) : name)
  const weights = new Set(model.namedParameters().map(({ name }) => below(name)))
  const modules = exported === null ? [] : model.namedModules(undefined, { shapes: true })
  const attentions = modules.filter(({ type }) => type === 'MultiheadAttention').map(({ path }) => below(path))
  return {
    paths: modules.map(({ path }) => below(path)),
    weighted: new Set([...weights].flatMap((name) => /^(.*)\.weight$/.exec(name)?.[1] ?? [])),
    attentions: attentions
      .map((path) => ({ path, isOneWeight: weights.has(`${path}.in_proj_weight`) }))
      // A class of the same name may be anyone's.
      .filter(({ path, isOneWeight }) => isOneWeight || weights.has(`${path}.q_proj_weight`))
  }
}

/** What a folder of PEFT's holds, as parts of this model. @param source what the user called the folder */
export async function readPeftAdapter(
  model: Model,
  folder: string,
  source: string,
  { withHead, problemType }: { readonly withHead: boolean; readonly problemType?: ProblemType | undefined }
): Promise<FoundAdapter> {
  const found = await readPeftFolder(folder, source)
  checkPeftBase(found, model.config)
  const modules = modulesOf(model)
  const config = peftAdapterConfig(found, model.config, withHead, modules)
  const passed = passedModules(found, model.config, modules)
  if (passed.length > 0) warnOfPassed(source, passed)
  // A head that PEFT cannot hold stands beside it, in files of its own.
  const hasOwnHead = model.config.exported?.hasOwnHead === true
  if (!hasOwnHead) checkStoredModules(found, model.config)
  const own = withHead && !hasOwnHead ? peftHead(found, model.config, problemType) : null
  if (problemType !== undefined && own === null) {
    throw check.valueError('problemType', 'no head is loaded of which the folder does not say it; leave it out')
  }
  const head = own ?? (withHead ? headOfModel(readHeadFolder(folder), model.config) : null)
  const ofHead = [...headModules(found), ...[peftPooler(found, model.config) ?? []].flat()]
  const ofBase = hasOwnHead ? storedInBase(found, model.config) : []
  const [withoutHead, same] =
    hasOwnHead && withHead ? [[], ofHead] : [ofHead.filter((module) => !ofBase.includes(module)), ofBase]
  const aside = [...withoutHead, ...passed, ...zeroModules(found, model.config)]
  const ofNetwork = [...same, ...baseLayers(found)]
  return {
    name: found.name,
    config,
    head,
    forClass: classOfFolder(found, model),
    weightsFile: found.weightsFile,
    load: async (name) => {
      try {
        return await nativeCall(() => model.native.loadPeftAdapter(found.weightsFile, name, aside, ofNetwork))
      } catch (error) {
        const isOf = (module: string) => String(error).includes(`'${module}.`)
        throw ofBase.some(isOf) ? storedWhole(found, ofBase) : error
      }
    }
  }
}

export async function savePeftAdapter(
  model: Model,
  folder: string,
  name: string,
  { format, withHead }: { readonly format: FolderFormat; readonly withHead: boolean }
): Promise<void> {
  if (format === 'pt') throw check.valueError('format', "PEFT reads 'safetensors' and 'bin', not 'pt'")
  checkAdapterName(name)
  const config = model.adapters.get(name)
  if (config === undefined) return
  warnOfSurgery(model, name, 'peft')
  if (withHead) refuseHeadSurgery(model, name)
  const plan = withHead ? planOf(model, name, config) : null
  const { native } = model
  const ownModules = withHead ? storedModules(model, name) : []
  const { paths, attentions } = modulesOf(model)
  const json = peftJson(config, model.config, plan, ownModules, paths, attentions)
  const parts = attentions.length === 0 ? [] : peftParts(config)
  const multihead = multiheadForms(parts, model.config, attentions)
  warnOfOutputs(name, config, passedBy(parts, model.config, attentions, multihead))
  warnOfWeights(model, name, config, multihead)
  const factors = Object.fromEntries([...multihead].map(([path, form]) => [path, form.factors]))
  if (config.method === 'prefix_tuning') warnOfWindow('save the PEFT adapter', config.prefixLength, model.config)
  await saveParts(folder, 'save the PEFT adapter', [
    {
      weights: peftWeightFiles[format],
      config: adapterConfigFile,
      json,
      writeWeights: (file) =>
        nativeCall(() => native.savePeftAdapter(file, name, format, plan?.layers ?? null, ownModules, factors))
    }
  ])
}

/**
 * What a folder stores whole of an exported class's own head. PEFT takes a module whole or with LoRA, never both: with LoRA in it
 * the head stays the class's own.
 */
function storedModules(model: Model, name: string): readonly string[] {
  const parameters = model.namedParameters()
  const modules = ownHeadModules(
    model.config,
    parameters.map((each) => each.name)
  )
  const isInside = (path: string) => modules.some((module) => path.startsWith(`${module}.`))
  if (!parameters.some((each) => isInside(each.name) && each.name.includes(`.loras.${name}.`))) return modules
  const trained = parameters.find((each) => each.trainable && isInside(each.name) && !each.name.includes('.loras.'))
  if (trained === undefined) return []
  throw new AdapterError(
    'ERR_UNSUPPORTED',
    'save the PEFT adapter',
    `'${trained.name}' trains, and has LoRA beside it`,
    {
      expected: 'a module that is stored whole, or one with LoRA',
      hint: 'Leave it out of targetModules, or freeze the head; withHead: false saves the LoRA alone.'
    }
  )
}

// A run writes a checkpoint every so often: once is enough.
const told = new WeakSet<AdapterConfig>()

/** A weight that is no module's own, as `in_proj_weight` of nn.MultiheadAttention, has no name among PEFT's targets. */
function warnOfWeights(model: Model, name: string, config: AdapterConfig, multihead: MultiheadForms): void {
  if (model.config.exported === null || told.has(config)) return
  const names = model.namedParameters().map((each) => each.name)
  const all = new Set(names)
  const places = names.map((each) => /^(.*)\.loras\.([^.]+)\./.exec(each))
  const path = places.find((place) => place?.[2] === name && all.has(`${place[1]}_weight`))?.[1]
  if (path === undefined || [...multihead.keys()].some((attention) => path.endsWith(`${attention}.in_proj`))) return
  told.add(config)
  process.emitWarning(
    `save the PEFT adapter '${name}': '${path}' is a weight of a larger module in PyTorch, where PEFT finds no module of that ` +
      'name. The folder gives its answers here alone; for Python name other modules: { targetModules: [...] }.',
    { code: 'TORCH_ADAPTERS_FAILS_IN_PYTHON' }
  )
}

const toldOutputs = new WeakSet<AdapterConfig>()

/** @param attentions at whose out_proj it stands in a form that PEFT passes by */
function warnOfOutputs(name: string, config: AdapterConfig, attentions: readonly string[]): void {
  if (attentions.length === 0 || toldOutputs.has(config)) return
  toldOutputs.add(config)
  process.emitWarning(
    `save the PEFT adapter '${name}': nn.MultiheadAttention never calls ${some(attentions.map((one) => `${one}.out_proj`))}, and ` +
      'PEFT, which has LoRA alone for such an attention, passes by what stands there. The folder gives its answers here alone; ' +
      'for Python train LoRA, or leave out_proj out of targetModules.',
    { code: 'TORCH_ADAPTERS_OTHER_ANSWERS' }
  )
}

function warnOfPassed(source: string, passed: readonly string[]): void {
  process.emitWarning(
    `load the PEFT adapter: nn.MultiheadAttention never calls ${some(passed)}, so that what ${source} holds there does nothing in ` +
      'PEFT: it is left out.',
    { code: 'TORCH_ADAPTERS_LEFT_OUT' }
  )
}

/** The class that the folder is for: that of the adapter's own head, or the one whose words answer where it has none. */
function planOf(model: Model, name: string, config: AdapterConfig): PeftHeadPlan | null {
  const { heads, headChoice } = model
  const own = heads.get(name)
  const { exported } = model.config
  if (exported?.hasOwnHead) {
    if (own !== undefined && !isOwnHead(own)) throw besideOwnHead(name, exported.className)
    return null
  }
  if (own !== undefined) return peftHeadPlan(name, own, model.config)
  const answering = headOfRow(headChoice.rule, heads, name) ?? ''
  return ofClass.get(config) ?? (isOfModel(model, answering) ? wordsPlan : null)
}

function besideOwnHead(name: string, className: string): AdapterError {
  const problem = `${className} has a head of its own, and no place for the head '${name}'`
  return new AdapterError('ERR_UNSUPPORTED', 'save the PEFT adapter', problem, {
    hint: headApart
  })
}

/** Whether a head is what the base model itself writes with: its word embedding, or the output layer of its own class. */
function isOfModel({ heads, config: { tieWordEmbeddings } }: Model, name: string): boolean {
  const head = heads.get(name)
  if (head === undefined || head.headType !== 'causal_lm') return false
  return isOwnWords(tieWordEmbeddings || name !== defaultHead ? head : { ...head, tied: true })
}
