import * as check from './check.js'
import type { ModelConfig } from './model-config.js'
import { type SizeExpression, sizeExpression } from './size-expression.js'

/** What a row is to a network that reads numbers which are no images of one size: sounds, features. */
export interface RowValues {
  /** Sizes of one row; -1: it differs from row to row. */
  readonly sizes: readonly number[]
  /** How many tokens come of a row whose own size is this. */
  readonly tokensOf: SizeExpression
  /** What PyTorch calls the network's inputs. */
  readonly inputs: readonly string[]
}

/** The names that rows' numbers may have, as Hugging Face's models call them. */
export const valueFields = ['inputValues', 'inputFeatures', 'pixelValues'] as const

/** For checkKeys: what a field that is called as PyTorch calls the network's input is here. */
export function ownName(inputs: readonly string[], field: string): (key: string) => string | undefined {
  const isNumbers = (key: string) => key !== 'attention_mask' && inputs.includes(key)
  return (key) => (isNumbers(key) ? `is what the network calls its numbers; here they are ${field}` : undefined)
}

/** Null for models that read ids, or images of one size. */
export function rowValues({ exported }: Pick<ModelConfig, 'exported'>): RowValues | null {
  const { values = [], rowTokens = 0, lengthName = '', tokensText = '', inputs = [] } = exported ?? {}
  if (values.length === 0) return null
  const known = rowTokens > 0 ? () => rowTokens : sizeExpression(tokensText, lengthName)
  if (known !== null) return { sizes: values, tokensOf: known, inputs }
  throw check.valueError('graph', `how many tokens come of a row is not read: '${tokensText}'`)
}

/** For messages: `[4, any]`. */
export function describeSizes({ sizes }: Pick<RowValues, 'sizes'>): string {
  return `[${sizes.map((size) => (size < 0 ? 'any' : size)).join(', ')}]`
}

/** Tokens of a row of so many numbers. */
export function tokensOfRow(name: string, count: number, values: RowValues): number {
  const own = ownSize(name, count, values)
  const tokens = values.tokensOf(own)
  if (Number.isInteger(tokens) && tokens > 0) return tokens
  throw check.valueError(name, `${count} numbers are too few: no token comes of them`)
}

/** The size that differs from row to row, of which there is one at most; 0 where none does. */
function ownSize(name: string, count: number, values: RowValues): number {
  const known = values.sizes.reduce((product, size) => (size < 0 ? product : product * size), 1)
  const open = values.sizes.some((size) => size < 0)
  if (open ? count > 0 && count % known === 0 : count === known) return open ? count / known : 0
  const expected = open ? `a multiple of ${known} numbers` : `${known} numbers`
  throw check.valueError(name, `expected ${expected}, ${describeSizes(values)}, got ${count}`)
}
