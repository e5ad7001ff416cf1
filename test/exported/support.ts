import type { ExecutionContext } from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { type ExportedCase, ExportedGroup, type ExportedInputs } from '../parity/support/exported.js'
import type { Tensor } from '../parity/support/fixtures.js'

/** Those whose rows are ids. */
export const textModels = ['bert', 'gpt2', 'llama'] as const

export interface Opened {
  readonly group: ExportedGroup
  readonly model: Model
}

export async function open(t: ExecutionContext, name: string): Promise<Opened> {
  const group = await ExportedGroup.read(name)
  const model = await AutoModel.fromExported(group.archive)
  t.teardown(() => model.dispose())
  return { group, model }
}

export function casesOf({ cases }: ExportedGroup, kind: ExportedCase['kind']): readonly ExportedCase[] {
  return cases.filter((one) => one.kind === kind)
}

/** A case's inputs as forward takes them. */
export function inputsOf(given: ExportedInputs | undefined) {
  const { input_ids: inputIds, attention_mask: attentionMask, token_type_ids: tokenTypeIds } = given ?? {}
  return {
    inputIds: inputIds as number[][],
    attentionMask: attentionMask as number[][],
    ...(tokenTypeIds !== undefined && { tokenTypeIds: tokenTypeIds as number[][] })
  }
}

/** The largest difference, relative to the largest expected value, or to 1. */
export function distance(got: ArrayLike<number>, { data }: Pick<Tensor, 'data'>): number {
  if (got.length !== data.length) return Number.POSITIVE_INFINITY
  const scale = Math.max(1, ...Array.from(data, Math.abs))
  return Math.max(...Array.from(data, (value, i) => Math.abs(value - (got[i] ?? Number.NaN)))) / scale
}

/** A native model of this class with the exported one's weights. */
export async function nativeTwin(t: ExecutionContext, config: object, exported: Model): Promise<Model> {
  const native = await AutoModel.fromConfig(config)
  t.teardown(() => native.dispose())
  const names = native.namedParameters().map(({ name }) => name)
  native.native.setParameters(new Map(names.map((name) => [name, exported.parameter(name)])))
  return native
}
