import * as check from '../config/check.js'
import { type ChoiceHeadConfig, isChoiceHead } from '../config/choice-heads.js'
import type { HeadConfig } from '../config/head-config.js'
import { imageTokens } from '../config/image-shape.js'
import type { RowLimits } from '../config/model-config.js'
import { tokensOfRow } from '../config/row-values.js'
import type { NativeBatch } from '../native/pass-types.js'
import { answeredRow, decoderIds } from './answered-rows.js'
import { choiceLabel, encodeChoices } from './choices.js'
import { concatenate } from './concatenate.js'
import { labelOf, labelPlace, type Row, type TextRow } from './dataset.js'
import { checkImageSize, encodeImage } from './images.js'
import { alignedLabels, encodeLabel, ignoredLabel, labelsTokens, spreadWordLabels } from './labels.js'
import { neededTokenizer, type Tokenized } from './needed-tokenizer.js'
import { type EncodedWordsOf, encodeParse, parseLabel } from './parses.js'
import { type EncodedQuestion, encodeQuestion, questionLabel } from './questions.js'
import { checkSuits } from './row-suits.js'
import { givenValues, imageOf, rowOf } from './value-rows.js'

/** A row as numbers. */
export interface EncodedRow {
  /** Empty for an image. Of a network with a decoder: what that reads. */
  readonly inputIds: Int32Array
  /** Of a network with a decoder: what its encoder reads. */
  readonly sourceIds?: Int32Array
  readonly tokenTypeIds: Int32Array
  /** One number for the row, one for each label or one for each token; undefined: the row has no label. */
  readonly label: Float32Array | Int32Array | undefined
  readonly image?: { readonly pixelValues: Float32Array; readonly tokens: number }
  /** Rows of words: from which word each token came, -1 for special tokens. */
  readonly wordIds?: Int32Array
  /** A row that is several for the core, its choices or its windows: the tokens of each. */
  readonly parts?: Int32Array
  readonly question?: EncodedQuestion
  readonly parse?: EncodedWordsOf
}

/** Checks what a row is, and its ids or the size of its image, against the model. */
export function checkRowFits(row: Row, limits: RowLimits, name: string): void {
  const { image, values = null, decoder = null, maxLength, vocabSize, typeVocabSize } = limits
  const given = givenValues(row)
  if (image === null && values === null && given !== undefined) {
    const what = given.name === 'pixelValues' ? 'an image was' : `${given.name} were`
    throw check.valueError(name, `${what} given to a model of text`)
  }
  if (values !== null) {
    if (given === undefined)
      throw check.valueError(name, 'the model reads numbers: expected inputValues, got text or ids')
    tokensOfRow(`${name}.${given.name}`, rowOf(`${name}.${given.name}`, given.values, values).length, values)
  } else if (image !== null) {
    if (!('pixelValues' in row) || row.pixelValues == null)
      throw check.valueError(name, 'the model reads images: expected pixelValues, got text or ids')
    const field = `${name}.pixelValues`
    checkImageSize(imageOf(field, row.pixelValues, image), image, field)
  }
  const written = decoderIds(row)
  if (decoder === null) {
    const field = (['decoderInputIds', 'targetText'] as const).find((one) => (row as Partial<TextRow>)[one] != null)
    if (field !== undefined) throw check.valueError(`${name}.${field}`, 'the model has no decoder; leave it out')
  } else if (written !== null) {
    const field = `${name}.decoderInputIds`
    if (written.length > maxLength) throw check.rangeError(field, `at most ${maxLength} ids`, written)
    checkBelow(field, written, vocabSize, 'the vocabulary')
  }
  if (!('inputIds' in row) || row.inputIds == null) return
  if (row.inputIds.length > maxLength) {
    throw check.rangeError(`${name}.inputIds`, `at most ${maxLength} ids, the model's positions`, row.inputIds)
  }
  checkBelow(`${name}.inputIds`, row.inputIds, vocabSize, 'the vocabulary')
  if (row.tokenTypeIds != null && typeVocabSize > 0) {
    checkBelow(`${name}.tokenTypeIds`, row.tokenTypeIds, typeVocabSize, 'the token types')
  }
}

function checkBelow(name: string, values: ArrayLike<number>, limit: number, what: string): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? Number.NaN
    if (value >= 0 && value < limit) continue
    throw check.rangeError(`${name}[${i}]`, `an id from 0 to ${limit - 1}, ${what} of the model`, value)
  }
}

const noIds = new Int32Array(0)

/** A tokenizer is needed for rows of text or words. */
export interface EncodeRowOptions extends Tokenized {
  /** Says what the labels mean; without it they are left out. */
  readonly head?: HeadConfig | undefined
  readonly limits: RowLimits
}

/** A row's label as its head wants it, checked as far as it can be without a tokenizer; undefined where there is none. */
export function rowLabel(
  row: Row,
  head: HeadConfig,
  name: string,
  { decoder = null }: Pick<RowLimits, 'decoder'> = {}
): Float32Array | Int32Array | undefined {
  checkSuits(row, head, name)
  if (isChoiceHead(head)) return choiceHeadLabel(row, head, name)
  const given = labelOf(row)
  if (given === null) return undefined
  const place = labelPlace(row, name)
  const label = encodeLabel(head, given, place)
  if (!labelsTokens(head)) return label
  const written = decoderIds(row)
  if (written !== null) checkCount(label, written.length, 'tokens of the decoder', place)
  else if (givenValues(row) !== undefined || (decoder !== null && head.headType === 'causal_lm')) return label
  else if ('words' in row && row.words != null) checkCount(label, row.words.length, 'words', place)
  else if ('inputIds' in row && row.inputIds != null) checkCount(label, row.inputIds.length, 'tokens', place)
  else {
    const tokens = Array.isArray((row as { tokens?: unknown }).tokens)
      ? " Did you mean 'words' instead of 'tokens'?"
      : ''
    throw check.valueError(name, `labels for tokens need words or inputIds, not text.${tokens}`)
  }
  return label
}

function choiceHeadLabel(row: Row, head: ChoiceHeadConfig, name: string): Int32Array | undefined {
  if (head.headType === 'question_answering') return questionLabel(row, name)
  return head.headType === 'multiple_choice' ? choiceLabel(row, head, name) : parseLabel(row, head, name)
}

function checkCount(label: ArrayLike<number>, count: number, what: string, place: string): void {
  if (label.length !== count) throw check.valueError(place, `${label.length} labels for ${count} ${what}`)
}

/** A row of text for a causal head needs no label: each token is that of the one before it. */
export function encodeRow(row: Row, options: EncodeRowOptions, name: string): EncodedRow {
  const encoded = encodeAny(row, options, name)
  // Of an empty text, where the tokenizer adds nothing.
  if (lengthOf(encoded) === 0) throw check.valueError(name, 'this row has no tokens')
  return encoded
}

function encodeAny(row: Row, options: EncodeRowOptions, name: string): EncodedRow {
  const { head } = options
  if (head !== undefined && isChoiceHead(head)) {
    if (options.limits.decoder == null && options.limits.values == null)
      return encodeForChoice(row, head, options, name)
    throw check.valueError(name, `a head of kind ${head.headType} reads rows of text for an encoder alone`)
  }
  const encoded = encode(row, options, name)
  const { decoder } = options.limits
  if (decoder != null) return answeredRow(row, encoded, { ...options, decoder }, name)
  if (head?.headType !== 'causal_lm') return encoded
  const label = (encoded.label ?? encoded.inputIds) as Int32Array
  return { ...encoded, label: alignedLabels(label, head) }
}

function encodeForChoice(row: Row, head: ChoiceHeadConfig, options: EncodeRowOptions, name: string): EncodedRow {
  const { limits, head: _, ...tokenized } = options
  const maxLength = Math.min(limits.maxLength, tokenized.tokenizer?.modelMaxLength ?? Infinity)
  checkSuits(row, head, name)
  checkRowFits(row, limits, name)
  if (head.headType === 'question_answering') return encodeQuestion(row, tokenized, maxLength, name)
  if (head.headType === 'dependency_parsing') return encodeParse(row, head, tokenized, maxLength, name)
  return encodeChoices(row, head, (choice, place) => encode(choice, { ...tokenized, limits }, place), name)
}

function encode(row: Row, options: EncodeRowOptions, name: string): EncodedRow {
  const { head, limits } = options
  const label = head === undefined ? undefined : rowLabel(row, head, name, limits)
  const perToken = head !== undefined && labelsTokens(head)
  checkRowFits(row, limits, name)
  const { values = null } = limits
  const given = values === null ? undefined : givenValues(row)
  if (values !== null && given !== undefined) {
    const field = `${name}.${given.name}`
    const pixelValues = rowOf(field, given.values, values)
    const tokens = tokensOfRow(field, pixelValues.length, values)
    if (perToken && label !== undefined) checkCount(label, tokens, 'tokens', name)
    return { inputIds: noIds, tokenTypeIds: noIds, label, image: { pixelValues, tokens } }
  }
  if (limits.image !== null && 'pixelValues' in row) {
    const field = `${name}.pixelValues`
    const pixelValues = encodeImage(imageOf(field, row.pixelValues, limits.image), limits.image, field)
    const image = { pixelValues, tokens: imageTokens(limits.image) }
    return { inputIds: noIds, tokenTypeIds: noIds, label, image }
  }
  if ('inputIds' in row && row.inputIds != null) {
    const inputIds = Int32Array.from(row.inputIds)
    const tokenTypeIds = row.tokenTypeIds == null ? new Int32Array(inputIds.length) : Int32Array.from(row.tokenTypeIds)
    return { inputIds, tokenTypeIds, label }
  }
  const tokenizer = neededTokenizer(options, name)
  const length = { maxLength: Math.min(limits.maxLength, tokenizer.modelMaxLength) }
  if ('words' in row && row.words != null) {
    const ids = tokenizer.encodeWords(row.words, length)
    if (!perToken || !(label instanceof Int32Array)) return { ...ids, label }
    return { ...ids, label: spreadWordLabels(label, ids.wordIds) }
  }
  const { text, textPair } = row as TextRow
  if (text === undefined) throw check.valueError(name, 'expected text, words or inputIds for this head')
  return { ...tokenizer.encode(text, textPair, length), label }
}

export interface CollatedBatch extends NativeBatch {
  /** The batch's row i is the given row `order[i]`. */
  readonly order: Uint32Array
}

/**
 * Rows one after the other, without padding. They are sorted by length, because attention runs neighbours of equal
 * length together; `order` leads back.
 * @param groups one number a row: rows of one group stay side by side
 */
export function collate(rows: readonly EncodedRow[], groups?: readonly number[]): CollatedBatch {
  if (rows.length === 0) throw check.valueError('batch', 'it has no rows')
  const order = Uint32Array.from(rows.keys())
  const group = (row: number) => groups?.[row] ?? 0
  order.sort((a, b) => group(a) - group(b) || lengthOf(rows[a]) - lengthOf(rows[b]) || a - b)
  const sorted = Array.from(order, (row) => rows[row] as EncodedRow)
  const images = sorted.flatMap((row) => (row.image === undefined ? [] : [row.image.pixelValues]))
  return {
    inputIds: concatenate(sorted.map((row) => row.inputIds)),
    ...(sorted.some((row) => row.sourceIds !== undefined) && sourcesOf(sorted)),
    ...(images.length > 0 && { pixelValues: images }),
    rowLengths: concatenate(sorted.map((row) => row.parts ?? Int32Array.of(lengthOf(row)))),
    ...(images.length === 0 && { tokenTypeIds: concatenate(sorted.map((row) => row.tokenTypeIds)) }),
    // Windows of a question are rows of their own; choices are rows of one question.
    choices: sorted.some((row) => row.parts !== undefined && row.question === undefined)
      ? Int32Array.from(sorted, (row) => row.parts?.length ?? 1)
      : undefined,
    wordIds: sorted.some((row) => row.parse !== undefined)
      ? concatenate(sorted.map((row) => row.parse?.wordIds ?? new Int32Array(row.inputIds.length).fill(-1)))
      : undefined,
    labels: collateLabels(sorted),
    order
  }
}

function sourcesOf(rows: readonly EncodedRow[]): Pick<NativeBatch, 'sourceIds' | 'sourceLengths'> {
  const sources = rows.map(({ sourceIds }) => sourceIds ?? noIds)
  return { sourceIds: concatenate(sources), sourceLengths: Int32Array.from(sources, ({ length }) => length) }
}

/** The rows that a row is for the core: its choices, its windows, or itself. */
export function partsOf(row: EncodedRow): EncodedRow[] {
  if (row.parts === undefined) return [row]
  let at = 0
  return Array.from(row.parts, (length) => {
    const from = at
    at += length
    const part = (values: Int32Array) => values.subarray(from, from + length)
    return { inputIds: part(row.inputIds), tokenTypeIds: part(row.tokenTypeIds), label: undefined }
  })
}

/** Its tokens. */
export function lengthOf(row: EncodedRow | undefined): number {
  return row?.image?.tokens ?? row?.inputIds.length ?? 0
}

/** All labels in the order of the rows; undefined: no row has one. */
export function collateLabels(rows: readonly EncodedRow[]): Int32Array | Float32Array | undefined {
  const labels = rows.flatMap((row) => (row.label === undefined ? [] : [row.label]))
  if (labels.length === 0) return undefined
  if (labels.length < rows.length) throw check.valueError('batch', 'some rows have a label and some have none')
  const integers = labels.filter((label) => label instanceof Int32Array)
  if (integers.length === labels.length) return concatenate(integers)
  return Float32Array.from(labels.flatMap((label) => Array.from(label)))
}

/** Tokens of a batch that have a label. */
export function labelledTokens(labels: Int32Array): number {
  return labels.reduce((count, label) => count + Number(label !== ignoredLabel), 0)
}
