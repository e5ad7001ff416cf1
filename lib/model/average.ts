import { type AdapterConfig, AdapterConfig as Configs } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import { LoraConfig, loraScale } from '../config/lora-config.js'
import { highestRank } from '../config/lora-size.js'
import type { ModelShape } from '../config/size.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import { type AddOptions, HeadAdders } from './heads.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import { checkKnown } from './setup.js'
import { withStandIns } from './stand-in.js'

/**
 * How several adapters become one. 'linear': the weighted sum of every parameter. 'lora_linear_only_negate_b': of LoRA, a
 * negative weight negates B alone, so that it takes the adapter's change away. 'lora_delta_w_svd': of LoRA, the sum of the
 * changes of the weights, as well as svdRank allows; the adapters may have other ranks than each other.
 */
export type CombineStrategy = 'linear' | 'lora_linear_only_negate_b' | 'lora_delta_w_svd'

/** Names, or weights by name. */
export type AverageOf = readonly string[] | { readonly [name: string]: number }

export interface AverageHeadOptions extends Pick<AddOptions, 'overwriteOk'> {
  /** One for each name, in their order. Default: the same for all. */
  readonly weights?: readonly number[] | undefined
  /** Divide the weights by their sum. Default true. */
  readonly normalizeWeights?: boolean | undefined
}

export interface AverageAdapterOptions extends AverageHeadOptions {
  /** Default 'linear'. */
  readonly combineStrategy?: CombineStrategy | undefined
  /** Rank of the new adapter, with 'lora_delta_w_svd'. */
  readonly svdRank?: number | undefined
  /** Make it the active adapter. Default false. */
  readonly setActive?: boolean | undefined
}

const strategies = ['linear', 'lora_linear_only_negate_b', 'lora_delta_w_svd'] as const
const headOptions = ['weights', 'normalizeWeights', 'overwriteOk']

export function averageAdapter(model: Model, name: string, of: AverageOf, options: AverageAdapterOptions): void {
  checkOptions(options, [...headOptions, 'combineStrategy', 'svdRank', 'setActive'])
  const strategy = check.checkOneOf('combineStrategy', options.combineStrategy ?? 'linear', strategies)
  const weighted = weightsOf(of, options, model.adapters, 'adapters')
  checkApart(name, weighted)
  const configs = [...weighted.keys()].map((one) => model.adapters.get(one) as AdapterConfig)
  checkAlike([...weighted.keys()], configs, strategy)
  const config = configOf(configs[0] as AdapterConfig, strategy, options.svdRank, model.config)
  const sources = [...weighted].map(([one, weight], i) => ({ name: one, weight, scale: scaleOf(configs[i]) }))
  const make = (as: string) => {
    model.addAdapter(as, config, { overwriteOk: options.overwriteOk })
    undoneBy(
      () => model.deleteAdapter(as),
      () => model.native.averageAdapters(as, scaleOf(config), sources, strategy)
    )
  }
  // What is there already goes only when the new one has proved to work.
  if (model.adapters.has(name) && options.overwriteOk) {
    withStandIns([name], 'averaging', (other) => {
      make(other(name))
      model.deleteAdapter(other(name))
    })
  }
  make(name)
  if (options.setActive) model.setActiveAdapters(name)
}

export function averageHead(model: Model, name: string, of: AverageOf, options: AverageHeadOptions): void {
  checkOptions(options, headOptions)
  const weighted = weightsOf(of, options, model.heads, 'heads')
  checkApart(name, weighted)
  const [first = '', ...others] = weighted.keys()
  const config = model.heads.get(first)
  for (const other of others) {
    const fields = differingFields(config, model.heads.get(other))
    if (fields.length > 0) throw different('averageHead', [first, other], fields, 'one configuration')
  }
  if (config === undefined) return
  const sources = [...weighted].map(([one, weight]) => ({ name: one, weight, scale: 1 }))
  model.addHead(name, config, { overwriteOk: options.overwriteOk })
  nativeCall(() => model.native.averageHeads(name, sources))
}

/** The weight of each name, as the options say. */
function weightsOf(
  of: AverageOf,
  { weights, normalizeWeights = true }: AverageHeadOptions,
  known: ReadonlyMap<string, unknown>,
  kind: 'adapters' | 'heads'
): ReadonlyMap<string, number> {
  const isList = Array.isArray(of)
  const names: readonly string[] = isList ? of : Object.keys(check.checkObject(kind, of))
  if (names.length === 0) throw check.rangeError(kind, 'at least one name', names)
  for (const one of names) checkKnown(kind, one, known)
  const twice = names.find((one, i) => names.indexOf(one) !== i)
  if (twice !== undefined) throw check.valueError(kind, `'${twice}' is there twice; give it one weight`)
  if (!isList && weights !== undefined) {
    throw check.valueError('weights', `the ${kind} have weights of their own already; give them in one way`)
  }
  const given = isList ? (weights ?? names.map(() => 1 / names.length)) : Object.values(of)
  const numbers = check
    .checkArray('weights', given)
    .map((one, i) => check.checkNumber(isList ? `weights[${i}]` : `weight of '${names[i]}'`, one))
  if (numbers.length !== names.length) {
    throw check.valueError('weights', `${numbers.length} weights for ${names.length} names; give one for each`)
  }
  const sum = normalizeWeights ? numbers.reduce((a, b) => a + b, 0) : 1
  // Weights such as 0.1, 0.2 and -0.3 miss zero by rounding alone.
  if (Math.abs(sum) < 1e-12) {
    throw check.valueError('weights', 'they add up to 0, so they cannot be normalised; pass normalizeWeights: false')
  }
  return new Map(names.map((one, i) => [one, (numbers[i] as number) / sum]))
}

function checkApart(name: string, weighted: ReadonlyMap<string, number>): void {
  if (weighted.has(name))
    throw check.valueError('name', `'${name}' is one of those that are averaged; take another name`)
}

/** Fields that say how an adapter was trained, not what it computes. */
const ofTraining = ['dropout', 'init_weights', 'init_weights_seed']

function checkAlike(names: readonly string[], configs: readonly AdapterConfig[], strategy: CombineStrategy): void {
  const ignored = new Set(strategy === 'lora_delta_w_svd' ? [...ofTraining, 'r', 'alpha', 'use_rslora'] : ofTraining)
  const told = (config?: AdapterConfig) =>
    JSON.parse(JSON.stringify(config, (key, value) => (ignored.has(key) ? undefined : value)))
  configs.forEach((config, i) => {
    const fields = differingFields(told(configs[0]), told(config))
    if (fields.length === 0) return
    throw different(
      'averageAdapter',
      [names[0] ?? '', names[i] ?? ''],
      fields,
      'one configuration, but for dropout and first values'
    )
  })
  if (strategy === 'linear' || configs.every(isPlainLora)) return
  throw new AdapterError('ERR_UNSUPPORTED', 'averageAdapter', `'${strategy}' is for LoRA alone`, {
    expected: 'LoRA without DoRA, VeRA, (IA)³, MTL-LoRA, a gate or a union',
    hint: "Use combineStrategy 'linear'."
  })
}

function isPlainLora(config: AdapterConfig): boolean {
  if (config.method !== 'lora') return false
  return config.compositionMode === 'add' && config.veraD === null && config.useDora === false && !config.useGating
}

function configOf(
  config: AdapterConfig,
  strategy: CombineStrategy,
  svdRank: number | undefined,
  shape: ModelShape
): AdapterConfig {
  if (strategy !== 'lora_delta_w_svd') {
    if (svdRank === undefined) return config
    throw check.valueError('svdRank', "is for combineStrategy 'lora_delta_w_svd'; leave it out")
  }
  if (svdRank === undefined) throw check.valueError('svdRank', "combineStrategy 'lora_delta_w_svd' needs the new rank")
  const r = check.checkPositiveInteger('svdRank', svdRank)
  const most = config instanceof LoraConfig ? highestRank(config, shape) : r
  if (r > most) throw check.rangeError('svdRank', `at most ${most}, the highest rank of the weights that change`, r)
  return Configs.load(config, { r })
}

const scaleOf = (config?: AdapterConfig): number => (config instanceof LoraConfig ? loraScale(config) : 1)

/** `numLabels 3 and 2` for each field in which two configurations differ; of two methods these have few in common. */
function differingFields(one: unknown, other: unknown): string[] {
  const [first, second] = [one, other] as Record<string, unknown>[]
  const [method, otherMethod] = [first, second].map(methodName)
  if (method !== otherMethod) return [`${method} and ${otherMethod}`]
  return [...new Set([...Object.keys(first ?? {}), ...Object.keys(second ?? {})])].flatMap((field) => {
    const [a, b] = [JSON.stringify(first?.[field]), JSON.stringify(second?.[field])]
    return a === b ? [] : [`${field} ${a ?? 'none'} and ${b ?? 'none'}`]
  })
}

/** 'the method lora', 'the union prefix_tuning|lora', 'a head of classification'. */
function methodName(json: Record<string, unknown> | undefined): string {
  if (json?.['headType'] !== undefined) return `a head of ${json['headType']}`
  const parts = json?.['configs']
  if (Array.isArray(parts)) return `the union ${parts.map((part) => part.architecture ?? 'bottleneck').join('|')}`
  return `the method ${json?.['architecture'] ?? 'bottleneck'}`
}

function different(
  operation: string,
  [one, other]: [string, string],
  fields: string[],
  expected: string
): AdapterError {
  const kind = operation === 'averageHead' ? 'heads' : 'adapters'
  return new AdapterError('ERR_INVALID_ARGUMENT', operation, `'${one}' and '${other}' have different configurations`, {
    expected,
    got: fields.join(', '),
    hint: `Average ${kind} that differ in their weights alone.`
  })
}

function undoneBy(undo: () => void, work: () => void): void {
  try {
    nativeCall(work)
  } catch (error) {
    undo()
    throw error
  }
}

/** A model's calls that make one of several. */
export abstract class Averages extends HeadAdders {
  /** Throws where the model was disposed of, and while a run holds it. */
  protected abstract configurable(operation: string): void

  /**
   * A new adapter whose weights are the weighted sum of those of others, which must have one configuration.
   * @param adapters names, or weights by name: `{ a: 0.2, b: 0.8 }`
   */
  averageAdapter(name: string, adapters: AverageOf, options: AverageAdapterOptions = {}): void {
    this.configurable('averageAdapter')
    averageAdapter(this as unknown as Model, name, adapters, options)
  }

  /**
   * A new head whose weights are the weighted sum of those of others, which must have one configuration, label names and all.
   * Configurations that differ are an `AdapterError` ERR_INVALID_ARGUMENT that names the fields; weights that add up to 0, and a
   * name that is taken (unless `overwriteOk`), a TypeError.
   * @param heads names, or weights by name: `{ a: 0.2, b: 0.8 }`
   */
  averageHead(name: string, heads: AverageOf, options: AverageHeadOptions = {}): void {
    this.configurable('averageHead')
    averageHead(this as unknown as Model, name, heads, options)
  }
}
