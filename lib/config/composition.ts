import * as check from './check.js'
import { typeError, valueError } from './check.js'
import { didYouMean } from './nearest.js'

/** Adapters one after the other; one that is there twice runs twice. */
export interface Stack {
  readonly type: 'Stack'
  readonly children: readonly Composition[]
}

/** AdapterFusion over its children. */
export interface Fuse {
  readonly type: 'Fuse'
  readonly children: readonly Composition[]
  /** Name of the fusion; null: the children's names with commas. */
  readonly name: string | null
}

/** Each child gets its part of a row's tokens. */
export interface Split {
  readonly type: 'Split'
  readonly children: readonly Composition[]
  /** Tokens for each child; 0 is allowed. */
  readonly splits: readonly number[]
}

/** Each child gets its part of a batch's rows. */
export interface BatchSplit {
  readonly type: 'BatchSplit'
  readonly children: readonly Composition[]
  /** Rows for each child; 0 is allowed. */
  readonly batchSizes: readonly number[]
}

/** Every child gets every row; the answers come one child after the other. */
export interface Parallel {
  readonly type: 'Parallel'
  readonly children: readonly Composition[]
}

/** Weighted mean of the children's outputs. */
export interface Average {
  readonly type: 'Average'
  readonly children: readonly Composition[]
  readonly weights: readonly number[]
}

/** Each row goes to the child that its task id names. */
export interface MultiTask {
  readonly type: 'MultiTask'
  readonly children: readonly Composition[]
}

export type CompositionBlock = Stack | Fuse | Split | BatchSplit | Parallel | Average | MultiTask
export type BlockType = CompositionBlock['type']
/**
 * An adapter's name, a block, or null: the base model's own value. Any block may hold any other. Plain frozen data: it says
 * what to run and holds no module.
 */
export type Composition = string | null | CompositionBlock

const blockTypes = ['Stack', 'Fuse', 'Split', 'BatchSplit', 'Parallel', 'Average', 'MultiTask'] as const

/** Blocks that are known to be well formed. */
const made = new WeakSet<object>()

function make<T extends CompositionBlock>(fields: T): T {
  made.add(fields)
  return Object.freeze(fields)
}

/** Blocks in one another. */
const deepest = 9

function checkLevel(name: string, level: number): void {
  if (level >= deepest) throw valueError(name, `blocks are nested more than ${deepest} deep`)
}

export function Stack(...children: Composition[]): Stack {
  return make({ type: 'Stack', children: checkChildren('Stack', children) })
}

export function Fuse(...args: [...Composition[], { readonly name: string }] | Composition[]): Fuse {
  const [children, options] = withOptions('Fuse', args, ['name'])
  const twice = children.find((child, i) => typeof child === 'string' && children.indexOf(child) !== i)
  if (twice !== undefined) {
    throw valueError('Fuse', `'${formatComposition(twice)}' is there twice; attention cannot tell equal values apart`)
  }
  const name = options['name'] === undefined ? null : check.checkNonEmptyString('Fuse.name', options['name'])
  return make({ type: 'Fuse', children, name })
}

export function Split(...args: [...Composition[], { readonly splits: number | readonly number[] }]): Split {
  const [children, options] = withOptions('Split', args, ['splits'])
  return make({ type: 'Split', children, splits: checkSizes('Split.splits', options['splits'], children, 0) })
}

export function BatchSplit(
  ...args: [...Composition[], { readonly batchSizes: number | readonly number[] }]
): BatchSplit {
  const [children, options] = withOptions('BatchSplit', args, ['batchSizes'])
  const batchSizes = checkSizes('BatchSplit.batchSizes', options['batchSizes'], children, 0)
  return make({ type: 'BatchSplit', children, batchSizes })
}

export function Parallel(...children: Composition[]): Parallel {
  return make({ type: 'Parallel', children: checkChildren('Parallel', children) })
}

export interface AverageOptions {
  /** One a child. Default: all alike. */
  readonly weights?: readonly number[]
  /** Divide the weights by their sum. Default true. */
  readonly normalizeWeights?: boolean
}

export function Average(...args: [...Composition[], AverageOptions] | Composition[]): Average {
  const [children, options] = withOptions('Average', args, ['weights', 'normalizeWeights'])
  return make({ type: 'Average', children, weights: averageWeights(children.length, options) })
}

export function MultiTask(...children: Composition[]): MultiTask {
  return make({ type: 'MultiTask', children: checkChildren('MultiTask', children) })
}

/**
 * A composition as the model takes it: a name becomes a Stack of one, and every nesting is checked.
 * @param name what errors call it
 */
export function parseComposition(value: unknown, name = 'composition'): CompositionBlock {
  if (typeof value === 'string') return Stack(value)
  if (value === null) throw typeError(name, "an adapter's name or a block", value)
  const composition = asComposition(name, value, 0)
  if (typeof composition === 'string' || composition === null) return Stack(composition)
  checkDepth(composition, 0)
  return composition
}

/** Every adapter's name once, in the order of their first use. */
export function adapterNames(composition: Composition): readonly string[] {
  if (composition === null) return []
  if (typeof composition === 'string') return [composition]
  return [...new Set(composition.children.flatMap(adapterNames))]
}

/** The adapter that runs last, whose head is the one to use; null where there is none. */
export function lastAdapter(composition: Composition): string | null {
  if (composition === null || typeof composition === 'string') return composition
  return composition.children.reduce<string | null>((last, child) => lastAdapter(child) ?? last, null)
}

/** The last adapters of all rows that a block tells apart, each once; null: rows that pass through none. */
export function lastAdapters(composition: Composition): readonly (string | null)[] {
  if (composition === null || typeof composition === 'string') return [composition]
  const each = composition.children.map(lastAdapters)
  if (['BatchSplit', 'Parallel', 'MultiTask'].includes(composition.type)) return [...new Set(each.flat())]
  // A child without an adapter leaves the word to the one before it.
  return each.reduce((before, last) => [...new Set(last.flatMap((name) => (name === null ? before : [name])))], [null])
}

/** Every Fuse block inside, parents first. */
export function fuseBlocks(composition: Composition): readonly Fuse[] {
  if (composition === null || typeof composition === 'string') return []
  const inside = composition.children.flatMap(fuseBlocks)
  return composition.type === 'Fuse' ? [composition, ...inside] : inside
}

/** The same block, in which fusions have the names that this gives; null: that of their adapters. */
export function withFusionNames(block: CompositionBlock, nameOf: (fuse: Fuse) => string | null): CompositionBlock {
  const children = Object.freeze(
    block.children.map((child) =>
      child === null || typeof child === 'string' ? child : withFusionNames(child, nameOf)
    )
  )
  return make(block.type === 'Fuse' ? { ...block, children, name: nameOf(block) } : { ...block, children })
}

/** The library's name for a fusion that was given none: its adapters with commas. */
export function fusionName(fuse: Fuse): string {
  return fuse.name ?? fuse.children.flatMap((child) => lastAdapter(child) ?? []).join(',')
}

export function sameComposition(a: Composition, b: Composition): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

/** `Stack[a, Fuse[b, c]]`, for messages. */
export function formatComposition(composition: Composition): string {
  if (composition === null || typeof composition === 'string') return `${composition}`
  return `${composition.type}[${composition.children.map(formatComposition).join(', ')}]`
}

/** As a program writes it: `Fuse('a', Stack('b', 'c'))`. */
export function compositionToCode(composition: Composition): string {
  if (composition === null) return 'null'
  if (typeof composition === 'string') return `'${composition}'`
  const { type, children } = composition
  const options = codeOptions(composition)
  return `${type}(${[...children.map(compositionToCode), ...(options === undefined ? [] : [options])].join(', ')})`
}

function codeOptions(block: CompositionBlock): string | undefined {
  if (block.type === 'Fuse') return block.name === null ? undefined : `{ name: '${block.name}' }`
  if (block.type === 'Split') return `{ splits: ${JSON.stringify(block.splits)} }`
  if (block.type === 'BatchSplit') return `{ batchSizes: ${JSON.stringify(block.batchSizes)} }`
  return block.type === 'Average' ? `{ weights: ${JSON.stringify(block.weights)}, normalizeWeights: false }` : undefined
}

/** The dict of `adapter_setup.json`. */
export function compositionToJson(block: CompositionBlock): Record<string, unknown> {
  const children = block.children.map((child) => {
    const isSingle = child === null || typeof child === 'string'
    return isSingle ? { type: 'single', children: [child] } : compositionToJson(child)
  })
  const kwargs = kwargsOf(block)
  return { type: block.type, children, ...(kwargs === undefined ? {} : { kwargs }) }
}

function kwargsOf(block: CompositionBlock): Record<string, unknown> | undefined {
  if (block.type === 'Split') return { splits: block.splits }
  if (block.type === 'BatchSplit') return { batch_sizes: block.batchSizes }
  if (block.type === 'Average') {
    const sum = block.weights.reduce((total, weight) => total + weight, 0)
    // Python would normalize them on the way back.
    return { weights: block.weights, ...(Math.abs(sum - 1) > 1e-9 && { normalize_weights: false }) }
  }
  return block.type === 'Fuse' && block.name !== null ? { name: block.name } : undefined
}

export function compositionFromJson(json: unknown): CompositionBlock {
  const composition = blockFromJson(json, 0)
  checkDepth(composition, 0)
  return composition
}

function blockFromJson(json: unknown, depth: number): CompositionBlock {
  checkLevel('composition', depth)
  const object = check.checkObject('composition', json)
  const type = check.checkOneOf('composition.type', object['type'], blockTypes)
  const children = check.checkArray('composition.children', object['children']).map((child) => {
    const single = check.checkObject('composition.children', child)
    if (single['type'] !== 'single') return blockFromJson(single, depth + 1)
    const name = check.checkArray('single.children', single['children'])[0]
    return name === null ? null : check.checkNonEmptyString('adapter name', name)
  })
  const kwargs = check.checkObject('composition.kwargs', object['kwargs'] ?? {})
  return build(type, children, {
    name: kwargs['name'],
    splits: kwargs['splits'],
    batchSizes: kwargs['batch_sizes'],
    weights: kwargs['weights'],
    // They were normalized, or meant not to be, when the block was made.
    normalizeWeights: false
  })
}

function build(type: BlockType, children: readonly Composition[], options: Record<string, unknown>): CompositionBlock {
  const checked = checkChildren(type, children)
  switch (type) {
    case 'Fuse':
      return typeof options['name'] === 'string' ? Fuse(...checked, { name: options['name'] }) : Fuse(...checked)
    case 'Split':
      return Split(...checked, { splits: options['splits'] as readonly number[] })
    case 'BatchSplit':
      return BatchSplit(...checked, { batchSizes: options['batchSizes'] as readonly number[] })
    case 'Average':
      return make({ type, children: checked, weights: averageWeights(checked.length, options) })
    default:
      return make({ type, children: checked })
  }
}

function withOptions(
  type: BlockType,
  args: readonly unknown[],
  allowed: readonly string[]
): [readonly Composition[], Record<string, unknown>] {
  const last = args.at(-1)
  const hasOptions = check.isPlainObject(last) && !('type' in last)
  const options = hasOptions ? last : {}
  check.checkKeys(type, options, allowed)
  return [checkChildren(type, hasOptions ? args.slice(0, -1) : args), options]
}

function checkChildren(type: BlockType, children: readonly unknown[]): readonly Composition[] {
  if (children.length === 0) throw check.rangeError(type, 'at least one adapter', children)
  return Object.freeze(children.map((child, i) => asComposition(`${type}[${i}]`, child, 0)))
}

/** A block that these functions made is taken as it is; one that came as plain data (a worker's message) is built anew. */
function asComposition(name: string, value: unknown, depth: number): Composition {
  if (value === null) return null
  if (typeof value === 'string') return check.checkNonEmptyString(name, value)
  if (Array.isArray(value)) {
    const names = value.every((one) => typeof one === 'string') ? value.map((one) => `'${one}'`).join(', ') : '…'
    throw typeError(name, `a block, which says how they stand together: Stack(${names}), Parallel(${names}), …`, value)
  }
  if (!check.isPlainObject(value)) throw typeError(name, `an adapter's name or ${blockTypes.join('(…), ')}(…)`, value)
  if (made.has(value)) return value as unknown as CompositionBlock
  checkLevel(name, depth)
  const { type, children, ...options } = value
  if (typeof type === 'string' && !(blockTypes as readonly string[]).includes(type)) {
    throw valueError(name, `unknown block '${type}'.${didYouMean(type, blockTypes)}`)
  }
  const kind = check.checkOneOf(`${name}.type`, type, blockTypes)
  const built = check
    .checkArray(`${name}.children`, children)
    .map((child, i) => asComposition(`${name}[${i}]`, child, depth + 1))
  return build(kind, built, { ...options, normalizeWeights: false })
}

function checkDepth(composition: Composition, level: number): void {
  if (composition === null || typeof composition === 'string') return
  checkLevel('composition', level)
  for (const child of composition.children) checkDepth(child, level + 1)
}

function checkSizes(
  name: string,
  value: unknown,
  children: readonly Composition[],
  minimum: number
): readonly number[] {
  if (typeof value === 'number')
    return checkSizes(
      name,
      children.map(() => value),
      children,
      minimum
    )
  if (value === undefined) {
    const [block, option] = name.split('.') as [string, string]
    const names = children.map((child) => (child === null ? 'null' : `'${formatComposition(child)}'`))
    const what = option === 'splits' ? 'tokens' : 'rows'
    const example = `${block}(${names.join(', ')}, { ${option}: [${children.map((_, i) => 4 * (i + 1)).join(', ')}] })`
    throw valueError(name, `says how many ${what} each child gets, one number a child: ${example}`)
  }
  const sizes = check.checkArray(name, value).map((size, i) => check.checkInteger(`${name}[${i}]`, size, minimum))
  if (sizes.length !== children.length) throw valueError(name, `${sizes.length} sizes for ${children.length} adapters`)
  return Object.freeze(sizes)
}

function averageWeights(count: number, options: Record<string, unknown>): readonly number[] {
  const { weights: given, normalizeWeights = true } = options
  if (given === undefined) return Object.freeze(Array.from({ length: count }, () => 1 / count))
  const weights = check.checkArray('Average.weights', given).map((weight, i) => {
    return check.checkNumber(`Average.weights[${i}]`, weight)
  })
  if (weights.length !== count) throw valueError('Average.weights', `${weights.length} weights for ${count} adapters`)
  if (!check.checkBoolean('Average.normalizeWeights', normalizeWeights)) return Object.freeze(weights)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  if (sum === 0) throw valueError('Average.weights', 'the weights add up to 0, so they cannot be normalized')
  return Object.freeze(weights.map((weight) => weight / sum))
}
