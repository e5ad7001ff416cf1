import * as check from '../config/check.js'
import type { DecoderFacts } from '../config/exported-network.js'
import type { HeadConfig } from '../config/head-config.js'
import type { EncodedRow, EncodeRowOptions } from './collate.js'
import type { IdsRow, Row, TextRow } from './dataset.js'
import { ignoredLabel } from './labels.js'
import { neededTokenizer } from './needed-tokenizer.js'

// A row of a network with an encoder and a decoder: the encoder reads the row, and what the decoder reads is given, or made
// of something by a start token in front and the last one left out, as transformers and adapters do:
//
//   decoderInputIds                   as they are; a language-modelling head's label is the next one's
//   targetText, or token labels       shifted right; each token's label is what it stands for
//   nothing                           the row's own ids, shifted right

/** What the decoder reads where a row says so itself. */
export function decoderIds(row: Row): ArrayLike<number> | null {
  return (row as Partial<IdsRow>).decoderInputIds ?? null
}

/** The encoder's row as that of both. `encoded` may have labels, checked as those of the decoder where it is given. */
export function answeredRow(
  row: Row,
  encoded: EncodedRow,
  options: EncodeRowOptions & { readonly decoder: DecoderFacts },
  name: string
): EncodedRow {
  const { head, decoder, limits } = options
  const writes = head?.headType === 'causal_lm'
  const answered = (ids: Int32Array, label = encoded.label) => ({
    ...{ inputIds: ids, tokenTypeIds: new Int32Array(ids.length), sourceIds: encoded.inputIds, label }
  })
  const given = decoderIds(row)
  if (given !== null) {
    const ids = Int32Array.from(given)
    return answered(ids, writes ? (encoded.label ?? nextOf(ids)) : encoded.label)
  }
  const { targetText } = row as Partial<TextRow>
  if (targetText != null) {
    const tokenizer = neededTokenizer(options, name)
    const maxLength = Math.min(limits.maxLength, tokenizer.modelMaxLength)
    const target = tokenizer.encode(targetText, null, { maxLength }).inputIds
    return answered(shiftedRight(target, decoder, name), writes ? target : encoded.label)
  }
  if (writes && encoded.label !== undefined)
    return answered(shiftedRight(Int32Array.from(encoded.label), decoder, name))
  if (writes) throw needsTarget(name)
  return answered(shiftedRight(encoded.inputIds, decoder, name))
}

/** What a language-modelling head of a network with a decoder may learn from, without encoding it. */
export function isAnswered(row: Row, head: HeadConfig): boolean {
  return head.headType !== 'causal_lm' || decoderIds(row) !== null || (row as Partial<TextRow>).targetText != null
}

export function needsTarget(name: string): Error {
  return check.valueError(name, 'a language-modelling head of a decoder needs decoderInputIds, targetText or labels')
}

/** Ids that a decoder reads so that each of its tokens is to write the id itself. Ignored ones become padding's, the start. */
export function shiftedRight(ids: ArrayLike<number>, { startTokenId }: DecoderFacts, name: string): Int32Array {
  if (startTokenId === null) {
    throw check.valueError(name, 'expected decoderInputIds: the config has no decoder_start_token_id to shift ids by')
  }
  return Int32Array.from(ids, (_, i) => {
    const before = i === 0 ? startTokenId : (ids[i - 1] ?? startTokenId)
    return before === ignoredLabel ? startTokenId : before
  })
}

function nextOf(ids: Int32Array): Int32Array {
  return ids.map((_, i) => ids[i + 1] ?? ignoredLabel)
}
