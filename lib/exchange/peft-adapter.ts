import { type AdapterConfig, ConfigUnion } from '../config/adapter-config.js'
import { LoraConfig, type LoraOverrides, type LoraPlace } from '../config/lora-config.js'
import { placeFields, resolveTargets } from '../config/lora-targets.js'
import type { ModelConfig } from '../config/model-config.js'
import type { PeftIa3, PeftLora, PeftVera } from '../config/peft-config.js'
import { matching, patternValues } from '../config/peft-modules.js'
import { PrefixTuningConfig } from '../config/prefix-config.js'
import { PromptTuningConfig } from '../config/prompt-config.js'
import { AdapterError } from '../native/errors.js'
import type { PeftFolder } from './peft-folder.js'
import {
  checkTargets,
  type OwnModules,
  type PeftTarget,
  passedModules,
  peftTargets,
  promptShape
} from './peft-targets.js'
import { warnOfWindow } from './windowed-prefix.js'

/** Fields that are the same at all places of one part. */
type PartFields = Pick<LoraOverrides, 'r' | 'alpha' | 'compositionMode'>

/**
 * A PEFT folder's config as one of ours in this model: a part for each choice of rank, alpha and side that the folder makes,
 * and for each choice of layers.
 */
export function peftAdapterConfig(
  folder: PeftFolder,
  model: ModelConfig,
  withHead: boolean,
  own: OwnModules
): AdapterConfig {
  const { method } = folder.config
  if (method.type === 'PREFIX_TUNING') {
    checkTakesPrefix(model)
    warnOfWindow('load the PEFT adapter', method.tokens, model)
    const features = model.exported?.keyFeatures ?? model.hiddenSize
    promptShape(folder, method.tokens, 2 * model.numHiddenLayers * features, model)
    // An exported network counts from 0: the core turns the prefix instead.
    return new PrefixTuningConfig({ flat: true, prefixLength: method.tokens, shiftPositions: model.exported === null })
  }
  if (method.type === 'PROMPT_TUNING') {
    checkTakesPrompt(model)
    promptShape(folder, method.tokens, model.embeddingSize, model)
    return new PromptTuningConfig({ promptLength: method.tokens, combine: 'prefix_words' })
  }
  const targets = peftTargets(folder, model, withHead, own)
  checkTargets(folder, model, targets, passedModules(folder, model, own))
  return linearConfig(targets, model, method)
}

function checkTakesPrompt({ exported }: ModelConfig): void {
  if (exported === null) return
  throw new AdapterError(
    'ERR_UNSUPPORTED',
    'load the PEFT adapter',
    `${exported.className} of an archive takes no prompt`,
    {
      expected: 'a model of a family of our own (fromPretrained)',
      hint: 'Train another method for it, such as LoRA or prefix tuning.'
    }
  )
}

function checkTakesPrefix({ exported }: ModelConfig): void {
  if (exported === null || (exported.keyFeatures > 0 && exported.decoder === null)) return
  throw new AdapterError(
    'ERR_UNSUPPORTED',
    'load the PEFT adapter',
    `${exported.className} of an archive takes no prefix`,
    {
      expected: 'a network of one stream of tokens, in every layer of which prefixes have a place',
      hint: 'Train another method for it, such as LoRA.'
    }
  )
}

type LinearMethod = PeftLora | PeftIa3 | PeftVera

/** Of a method that stands at Linears. */
function linearConfig(targets: readonly PeftTarget[], model: ModelConfig, method: LinearMethod): AdapterConfig {
  const common = commonFields(method)
  if (model.exported !== null) return namedConfig(targets, fieldsOf(method, targets), common, model)
  const parts = partsOf(targets, fieldsOf(method, targets)).map(
    ({ fields, places, layers }) =>
      new LoraConfig({ ...common, ...fields, ...placeFields(places), leaveOut: others(layers, model.numHiddenLayers) })
  )
  const [first] = parts
  if (first !== undefined && parts.length === 1) return first
  if (method.type !== 'VERA') return new ConfigUnion(parts)
  throw new AdapterError('ERR_UNSUPPORTED', 'load the PEFT adapter', 'this VeRA stands at other places in each layer', {
    expected: 'the same places in every layer that has one',
    hint: 'Merge it into its base model in Python (merge_and_unload), and load that model.'
  })
}

/** In an exported network: a part for each choice of fields, by the names of its Linears. */
function namedConfig(
  targets: readonly PeftTarget[],
  fieldsOf: (target: PeftTarget) => PartFields,
  common: LoraOverrides,
  model: ModelConfig
): AdapterConfig {
  const named = new Map<string, { fields: PartFields; paths: string[] }>()
  for (const target of targets) {
    const fields = fieldsOf(target)
    const key = JSON.stringify(fields)
    const part = named.get(key) ?? { fields, paths: [] }
    part.paths.push(target.path)
    named.set(key, part)
  }
  const parts = [...named.values()].map(
    ({ fields, paths }) => new LoraConfig({ ...common, ...fields, targetModules: paths })
  )
  const [first] = parts
  return resolveTargets(first !== undefined && parts.length === 1 ? first : new ConfigUnion(parts), model)
}

function commonFields(method: LinearMethod): LoraOverrides {
  if (method.type === 'IA3') return { initWeights: 'ia3' }
  if (method.type === 'VERA') {
    return { veraD: method.dInitial, veraB: 0, initWeights: 'vera', dropout: method.dropout }
  }
  return { dropout: method.dropout, useDora: method.dora ? 'peft' : false }
}

function fieldsOf(method: LinearMethod, targets: readonly PeftTarget[]): (target: PeftTarget) => PartFields {
  const names = targets.map(({ module }) => module)
  if (method.type === 'LORA') {
    const fields = loraFields(method, names)
    return (target) => {
      const { alpha, ...rest } = fields(target)
      return { ...rest, alpha: target.twice ? 2 * alpha : alpha }
    }
  }
  // VeRA has no scale: alpha / r is 1.
  if (method.type === 'VERA') return () => ({ r: method.r, alpha: method.r })
  const onInput = matching(method.feedforwardModules, names, '')
  return ({ module }) => ({ r: 1, alpha: 1, compositionMode: onInput.has(module) ? 'scale_input' : 'scale' })
}

/** Rank and alpha at a module. */
export function loraFields(
  method: PeftLora,
  names: readonly string[]
): (target: Pick<PeftTarget, 'module'>) => { readonly r: number; readonly alpha: number; readonly useRslora: boolean } {
  const rank = patternValues(method.rankPattern, names, method.r)
  const alpha = patternValues(method.alphaPattern, names, method.alpha)
  return ({ module }) => ({ r: rank(module), alpha: alpha(module), useRslora: method.rankStabilised })
}

interface Part {
  readonly fields: PartFields
  readonly places: readonly LoraPlace[]
  readonly layers: readonly number[]
}

/** Places that have the same fields in the same layers are one part. */
function partsOf(targets: readonly PeftTarget[], fieldsOf: (target: PeftTarget) => PartFields): Part[] {
  const layersOf = new Map<string, { fields: PartFields; place: LoraPlace; layers: number[] }>()
  for (const target of targets) {
    const fields = fieldsOf(target)
    const key = JSON.stringify([fields, target.place])
    const entry = layersOf.get(key) ?? { fields, place: target.place as LoraPlace, layers: [] }
    entry.layers.push(target.layer)
    layersOf.set(key, entry)
  }
  const parts = new Map<string, { fields: PartFields; places: LoraPlace[]; layers: number[] }>()
  for (const { fields, place, layers } of layersOf.values()) {
    layers.sort((a, b) => a - b)
    const key = JSON.stringify([fields, layers])
    const part = parts.get(key) ?? { fields, places: [], layers }
    part.places.push(place)
    parts.set(key, part)
  }
  return [...parts.values()]
}

function others(layers: readonly number[], count: number): number[] {
  return Array.from({ length: count }, (_, layer) => layer).filter((layer) => !layers.includes(layer))
}
