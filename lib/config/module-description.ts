import type { NativeModuleDescription } from '../native/config-types.js'
import { type NonLinearity, nonLinearities } from './activations.js'
import * as check from './check.js'
import { didYouMean } from './nearest.js'

/** The module that stands at a path now. */
export interface ExistingModule {
  readonly kind: 'module'
  readonly path: string
  /** PyTorch's class name, such as `Linear`. */
  readonly type: string
}

/** Modules one after the other: PyTorch's Sequential, whose children are called 0, 1, … */
export interface SequentialModule {
  readonly kind: 'sequential'
  readonly modules: readonly ModuleDescription[]
}

/** module(x) + scale · (adapter(x) − x): what the adapter adds to x is added to what the module makes of it. */
export interface ParallelModule {
  readonly kind: 'parallel'
  readonly module: ModuleDescription
  readonly adapter: NewModule
  readonly scale: number
}

/** x + up_project(activation(down_project(x))) */
export interface AdapterLayerModule {
  readonly kind: 'adapterLayer'
  readonly hiddenSize: number
  readonly adapterSize: number
  readonly activation: NonLinearity
}

/** Adapter layers of several sizes, one after the other, at one place. */
export interface HierarchicalModule {
  readonly kind: 'hierarchical'
  readonly hiddenSize: number
  readonly adapterSizes: readonly number[]
  readonly activation: NonLinearity
}

/** An adapter layer whose size each row chooses for itself. */
export interface DynamicModule {
  readonly kind: 'dynamic'
  readonly hiddenSize: number
  readonly maxAdapterSize: number
  readonly mask: 'straight-through' | 'soft'
  readonly temperature: number
  readonly start: 'identity' | 'pytorch'
}

/** Adapters side by side, and self-attention over what they give. */
export interface FusedModule {
  readonly kind: 'fused'
  readonly hiddenSize: number
  readonly numHeads: number
  readonly adapters: Readonly<Record<string, NewModule>>
}

export type NewModule = AdapterLayerModule | HierarchicalModule | DynamicModule | FusedModule
/**
 * What stands in a place: plain data. One object is one module wherever it is used: two places that are given the same
 * one share its parameters.
 */
export type ModuleDescription = ExistingModule | SequentialModule | ParallelModule | NewModule

export interface AdapterLayerOptions {
  readonly hiddenSize: number
  readonly adapterSize: number
  /** Default 'relu'. */
  readonly activation?: string | undefined
  /** 'seed': every activation but relu and gelu is none at all, as in the document this library builds. */
  readonly compat?: 'seed' | undefined
}

export interface HierarchicalOptions extends Omit<AdapterLayerOptions, 'adapterSize'> {
  /** From the first adapter to the last. */
  readonly adapterSizes: readonly number[]
}

export interface DynamicAdapterOptions {
  readonly hiddenSize: number
  readonly maxAdapterSize: number
  /**
   * 'straight-through' (the default): a row's first units alone, and the gradient of the soft mask; 'soft': the soft mask
   * itself.
   */
  readonly mask?: 'straight-through' | 'soft' | undefined
  /** Over how many units the soft mask fades. Default 1. */
  readonly temperature?: number | undefined
  /** 'identity' (the default): the up-projection starts at zero; 'pytorch': as every Linear of PyTorch. */
  readonly start?: 'identity' | 'pytorch' | undefined
}

export interface FusedAdaptersOptions {
  readonly hiddenSize: number
  /** By name, in the order in which they are numbered; a list's are called 0, 1, … as in a ModuleList. */
  readonly adapters: Readonly<Record<string, NewModule>> | readonly NewModule[]
  /** Heads of the self-attention, a number that divides hiddenSize. Default 8. */
  readonly numHeads?: number | undefined
}

/** As the core has it. */
const deepest = 32
/** How many levels each has below itself. */
const known = new WeakMap<object, number>()

// Only what these functions made is a description: anything else was not checked.
function made<T extends ModuleDescription>(description: T, parts: readonly ModuleDescription[] = []): T {
  const level = Math.max(0, ...parts.map((part) => (known.get(part) ?? 0) + 1))
  if (level > deepest) throw check.valueError(description.kind, `modules are nested more than ${deepest} levels deep`)
  known.set(description, level)
  return Object.freeze(description)
}

/** Modules one after the other. */
export function sequential(...modules: readonly ModuleDescription[]): SequentialModule {
  if (modules.length === 0) throw check.valueError('sequential', 'expected at least one module')
  modules.forEach((module, i) => {
    checkModule(`sequential, module ${i}`, module)
  })
  return made({ kind: 'sequential', modules: Object.freeze([...modules]) }, modules)
}

/**
 * An adapter beside a module, which reads what the module reads: module(x) + scale · (adapter(x) − x). In PyTorch a Module
 * with the children `module` and `adapter`.
 */
export function parallel(
  module: ModuleDescription,
  adapter: NewModule,
  options: { readonly scale?: number | undefined } = {}
): ParallelModule {
  checkKeys('parallel', options, ['scale'])
  checkModule('parallel, module', module)
  checkModule('parallel, adapter', adapter)
  if (!('hiddenSize' in adapter)) throw check.valueError('parallel, adapter', 'expected a new adapter')
  const scale = check.checkNumber('scale', options.scale ?? 1)
  return made({ kind: 'parallel', module, adapter, scale }, [module, adapter])
}

/** x + up_project(activation(down_project(x))): starts as the identity. */
export function adapterLayer(options: AdapterLayerOptions): AdapterLayerModule {
  checkKeys('adapterLayer', options, ['hiddenSize', 'adapterSize', 'activation', 'compat'])
  const hiddenSize = check.checkPositiveInteger('hiddenSize', options.hiddenSize)
  const adapterSize = check.checkPositiveInteger('adapterSize', options.adapterSize)
  return made({ kind: 'adapterLayer', hiddenSize, adapterSize, activation: activationOf(options) })
}

/** The same as adapterLayer. */
export const bottleneck: (options: AdapterLayerOptions) => AdapterLayerModule = adapterLayer

/** Adapter layers of several sizes, one after the other, at one place. */
export function hierarchical(options: HierarchicalOptions): HierarchicalModule {
  checkKeys('hierarchical', options, ['hiddenSize', 'adapterSizes', 'activation', 'compat'])
  const hiddenSize = check.checkPositiveInteger('hiddenSize', options.hiddenSize)
  const { adapterSizes } = options
  if (!Array.isArray(adapterSizes) || adapterSizes.length === 0) {
    throw check.typeError('adapterSizes', 'an array of at least one size', adapterSizes)
  }
  const sizes = adapterSizes.map((size, i) => check.checkPositiveInteger(`adapterSizes[${i}]`, size))
  return made({
    kind: 'hierarchical',
    hiddenSize,
    adapterSizes: Object.freeze(sizes),
    activation: activationOf(options)
  })
}

/** An adapter layer without an activation, whose size each row chooses from its mean hidden state. */
export function dynamicAdapter(options: DynamicAdapterOptions): DynamicModule {
  checkKeys('dynamicAdapter', options, ['hiddenSize', 'maxAdapterSize', 'mask', 'temperature', 'start'])
  return made({
    kind: 'dynamic',
    hiddenSize: check.checkPositiveInteger('hiddenSize', options.hiddenSize),
    maxAdapterSize: check.checkPositiveInteger('maxAdapterSize', options.maxAdapterSize),
    mask: check.checkOneOf('mask', options.mask ?? 'straight-through', ['straight-through', 'soft'] as const),
    temperature: check.checkNumber('temperature', options.temperature ?? 1, { above: 0 }),
    start: check.checkOneOf('start', options.start ?? 'identity', ['identity', 'pytorch'] as const)
  })
}

/** Adapters side by side and, over what they give, self-attention of several heads, learned weights and a residual. */
export function fusedAdapters(options: FusedAdaptersOptions): FusedModule {
  checkKeys('fusedAdapters', options, ['hiddenSize', 'adapters', 'numHeads'])
  const hiddenSize = check.checkPositiveInteger('hiddenSize', options.hiddenSize)
  const numHeads = check.checkPositiveInteger('numHeads', options.numHeads ?? 8)
  if (hiddenSize % numHeads !== 0) {
    throw check.rangeError('numHeads', `a number that divides the hidden size ${hiddenSize}`, numHeads)
  }
  const given = Array.isArray(options.adapters) ? { ...options.adapters } : options.adapters
  const adapters = check.checkObject('adapters', given) as Record<string, NewModule>
  if (Object.keys(adapters).length === 0) throw check.valueError('adapters', 'expected at least one adapter')
  for (const [name, adapter] of Object.entries(adapters)) {
    if (name === '' || name.includes('.')) throw check.valueError('adapters', `'${name}' cannot be part of a path`)
    checkModule(`adapters.${name}`, adapter)
    if (!('hiddenSize' in adapter)) throw check.valueError(`adapters.${name}`, 'expected a new adapter')
    if (adapter.hiddenSize !== hiddenSize) {
      throw check.rangeError(`adapters.${name}`, `a hidden size of ${hiddenSize}`, adapter.hiddenSize)
    }
  }
  return made(
    { kind: 'fused', hiddenSize, numHeads, adapters: Object.freeze({ ...adapters }) },
    Object.values(adapters)
  )
}

/** @internal */
export function existingModule(path: string, type: string): ExistingModule {
  return made({ kind: 'module', path, type })
}

/** @internal */
export function checkModule(name: string, value: unknown): ModuleDescription {
  if (typeof value === 'object' && value !== null && known.has(value)) return value as ModuleDescription
  throw check.typeError(name, 'a module: sequential(…), parallel(…), adapterLayer(…), or the one that was there', value)
}

function checkKeys(name: string, options: unknown, keys: readonly string[]): void {
  check.checkKeys(name, check.checkObject(name, options), keys)
}

function activationOf({
  activation = 'relu',
  compat
}: Pick<AdapterLayerOptions, 'activation' | 'compat'>): NonLinearity {
  check.checkString('activation', activation)
  if (compat !== undefined) check.checkOneOf('compat', compat, ['seed'] as const)
  if (compat === 'seed') return activation === 'relu' || activation === 'gelu' ? activation : 'linear'
  if ((nonLinearities as readonly string[]).includes(activation)) return activation as NonLinearity
  throw check.valueError(
    'activation',
    `'${activation}' is none of ${nonLinearities.join(', ')}.${didYouMean(activation, nonLinearities)} With compat: 'seed' an unknown one is none at all.`
  )
}

const numbers = new WeakMap<object, number>()
let next = 0

// The same object has the same number for ever.
function numberOf(description: object): number {
  const number = numbers.get(description) ?? next++
  numbers.set(description, number)
  return number
}

/** A description as the core takes it. */
export function nativeModule(description: ModuleDescription): NativeModuleDescription {
  const id = numberOf(description)
  switch (description.kind) {
    case 'module':
      return { kind: 'module', id, path: description.path }
    case 'sequential':
      return { kind: 'sequential', id, parts: description.modules.map(nativeModule) }
    case 'parallel': {
      const { module, adapter, scale } = description
      return { kind: 'parallel', id, parts: [nativeModule(module), nativeModule(adapter)], scale }
    }
    case 'adapterLayer': {
      const { hiddenSize, adapterSize, activation } = description
      return { kind: 'adapter', id, hidden_size: hiddenSize, sizes: [adapterSize], activation }
    }
    case 'hierarchical': {
      const { hiddenSize, adapterSizes, activation } = description
      return { kind: 'hierarchical', id, hidden_size: hiddenSize, sizes: adapterSizes, activation }
    }
    case 'dynamic': {
      const { hiddenSize, maxAdapterSize, mask, temperature, start } = description
      const options = { soft_mask: mask === 'soft', temperature, identity_start: start === 'identity' }
      return { kind: 'dynamic', id, hidden_size: hiddenSize, sizes: [maxAdapterSize], ...options }
    }
    case 'fused': {
      const { hiddenSize, numHeads, adapters } = description
      const parts = Object.values(adapters).map(nativeModule)
      return {
        kind: 'fused',
        id,
        hidden_size: hiddenSize,
        sizes: [],
        heads: numHeads,
        names: Object.keys(adapters),
        parts
      }
    }
  }
}
