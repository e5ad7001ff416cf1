import * as check from '../config/check.js'
import type { DecoderFacts } from '../config/exported-network.js'
import { type ModelConfig, rowLimits } from '../config/model-config.js'
import { shiftedRight } from '../data/answered-rows.js'
import type { LabelsFor } from './input-labels.js'
import { alike, below, flatten, type Ids, integer, keptColumns, rowsOf } from './input-rows.js'
import { type PackedInputs, packTokens, type TokenInputs } from './inputs.js'

/** Rows of ids, padding left out. */
interface WrittenRows {
  readonly inputIds: Ids
  readonly attentionMask?: Ids | undefined
}

/** For a network with an encoder and a decoder: the decoder's rows as a batch, and the encoder's beside them. */
export function packPairs(
  inputs: TokenInputs,
  config: ModelConfig,
  decoder: DecoderFacts,
  labels: LabelsFor
): PackedInputs {
  const { inputIds, attentionMask, decoderInputIds: _, decoderAttentionMask: __, ...rest } = inputs
  const written = decoderRows(inputs, decoder, labels)
  if (inputIds === undefined) throw check.typeError('inputs.inputIds', 'rows of token ids', undefined)
  const ids = rowsOf('inputIds', inputIds)
  const kept = keptColumns(ids, alike('attentionMask', attentionMask, ids))
  const isGiven = inputs.decoderInputIds !== undefined
  const packed = packTokens({ ...rest, ...written }, config, {
    ...labels,
    isAligned: true,
    ...(isGiven && { tokens: ['decoderInputIds', 'decoderAttentionMask'] as const })
  })
  if (packed.rows !== kept.length) {
    throw check.valueError('decoderInputIds', `expected ${kept.length} rows as in inputIds, got ${packed.rows}`)
  }
  const { vocabSize } = rowLimits(config)
  const sourceIds = flatten(kept, (i, c) =>
    below('inputIds', i, c, ids.values[i]?.[c], vocabSize, 'an id of the vocabulary')
  )
  const sourceLengths = Int32Array.from(kept, ({ length }) => length)
  return { ...packed, batch: { ...packed.batch, sourceIds, sourceLengths } }
}

/** What the decoder reads: what is given, or labels of a language-modelling head, or the encoder's rows, shifted right. */
export function decoderRows(inputs: TokenInputs, decoder: DecoderFacts, { head, name }: LabelsFor): WrittenRows {
  const { inputIds, attentionMask, decoderInputIds, decoderAttentionMask, labels } = inputs
  if (decoderInputIds !== undefined) return { inputIds: decoderInputIds, attentionMask: decoderAttentionMask }
  if (decoderAttentionMask !== undefined)
    throw check.valueError('decoderAttentionMask', 'it is the mask of decoderInputIds, which are missing')
  const shifted = (row: ArrayLike<number>) => Array.from(shiftedRight(row, decoder, 'decoderInputIds'))
  if (head?.headType === 'causal_lm' && labels !== undefined) {
    const { values } = rowsOf(name, labels as Ids)
    return { inputIds: values.map((row, i) => shifted(Array.from(row, (id, c) => integer(name, i, c, id)))) }
  }
  const ids = rowsOf('inputIds', inputIds)
  const kept = keptColumns(ids, alike('attentionMask', attentionMask, ids))
  return {
    inputIds: kept.map((columns, i) => shifted(columns.map((c) => integer('inputIds', i, c, ids.values[i]?.[c]))))
  }
}
