import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import { type ImageShape, imageShape } from '../config/image-shape.js'
import { type ModelConfig, positionsAfterPadding, rowLimits } from '../config/model-config.js'
import { ownName, rowValues } from '../config/row-values.js'
import { givenValues } from '../data/value-rows.js'
import type { NativeBatch } from '../native/pass-types.js'
import { imagePlaces, imagesOf, type PixelValues } from './image-inputs.js'
import { type Labels, type LabelsFor, labelBatch, rowLabels } from './input-labels.js'
import { alike, below, flatten, type Ids, keptColumns, type Rows, rowsOf } from './input-rows.js'
import { packPairs } from './pair-inputs.js'
import { packValues, type ValueInputs } from './value-inputs.js'

export type ForwardInputs = TokenInputs | ImageInputs | ValueInputs

export interface TokenInputs {
  readonly inputIds: Ids
  /** 1 where a token is real, 0 where it is padding. Masked tokens are left out of the computation altogether. */
  readonly attentionMask?: Ids | undefined
  readonly tokenTypeIds?: Ids | undefined
  /**
   * Of a network with an encoder and a decoder, whose encoder reads inputIds: what the decoder reads, its start token first.
   * Answers and token labels are of these. Default: a language-modelling head's labels, or inputIds, shifted right.
   */
  readonly decoderInputIds?: Ids | undefined
  /** As attentionMask, of decoderInputIds. */
  readonly decoderAttentionMask?: Ids | undefined
  /** Default: the model's own rule, as Hugging Face counts them. */
  readonly positionIds?: Ids | undefined
  /**
   * One for each row (class number, or a value for regression), [rows][labels] for multi-label, [rows][tokens] for
   * tagging and masked language modelling, where -100 marks a token without a label. Question answering: [rows][2], the
   * first and the last token; multiple choice: one for each question; dependency parsing: [rows][words × 2], each word's
   * head (0: the root, 1: the first word) and relation.
   */
  readonly labels?: Labels | undefined
  /** Multiple choice: how many of the rows are the choices of each question. Default: numChoices of the head. */
  readonly choices?: ArrayLike<number> | undefined
  /** Dependency parsing: which word of its row a token is a part of, from 0 without a gap; -1: of none. */
  readonly wordIds?: Ids | undefined
}

/** What models of images take. */
export interface ImageInputs {
  readonly pixelValues: PixelValues
  /** One for each image, or [rows][labels] for multi-label. */
  readonly labels?: TokenInputs['labels']
}

/** A batch for the core, and how to lay its tokens out again as the caller gave them. */
export interface PackedInputs {
  readonly batch: NativeBatch
  readonly rows: number
  /** Columns of the rectangle that token outputs are put back into: the longest row, or the given padded width. */
  readonly columns: number
  /** For each token its place (row · columns + column) in that rectangle. */
  readonly places: Int32Array
}

/** Rows as the core takes them, one after the other. `head`: reads the labels. */
export function packInputs(given: ForwardInputs, config: ModelConfig, head: HeadConfig | undefined): PackedInputs {
  const inputs = check.checkObject('inputs', given)
  const image = imageShape(config)
  const labels = { head, name: 'labels' }
  const values = rowValues(config)
  if (values !== null) return packValues(given as ValueInputs, values, labels)
  if (image === null && givenValues(inputs) !== undefined) {
    const what = inputs['pixelValues'] === undefined ? 'numbers were' : 'an image was'
    throw check.valueError('inputs', `expected inputIds: ${what} given to a model of text`)
  }
  if (config.exported?.decoder != null) return packPairs(given as TokenInputs, config, config.exported.decoder, labels)
  return image === null
    ? packTokens(given as TokenInputs, config, labels)
    : packImages(given as ImageInputs, image, labels, config.exported?.inputs)
}

function packImages(
  inputs: ImageInputs,
  shape: ImageShape,
  { head, name }: LabelsFor,
  names: readonly string[] = []
): PackedInputs {
  const given = check.checkObject('inputs', inputs)
  if (given['inputIds'] !== undefined)
    throw check.valueError('inputs', 'expected pixelValues: ids were given to a model of images')
  check.checkKeys('inputs', given, ['pixelValues', 'labels'], ownName(names, 'pixelValues'))
  if (inputs.pixelValues === undefined) throw check.typeError('inputs.pixelValues', 'images', undefined)
  const pixelValues = imagesOf(inputs.pixelValues, shape)
  const rows = pixelValues.length
  const { columns, places } = imagePlaces(rows, shape)
  const rowLengths = new Int32Array(rows).fill(columns)
  const labels = rowLabels(inputs.labels, head, rows, name)
  return { batch: { inputIds: new Int32Array(0), pixelValues, rowLengths, labels }, rows, columns, places }
}

const ofRows =
  'is for predict, evaluate and training: forward reads inputIds, such as model.tokenizer.encode(text) gives'
const ofAnswers = 'stands in labels here: [first token, last token] for each row'

/** Fields of a row, and names of Hugging Face's models. */
const elsewhere: Readonly<Record<string, string>> = {
  ...{ text: ofRows, textPair: ofRows, words: ofRows, question: ofRows, context: ofRows },
  ...{ startPositions: ofAnswers, endPositions: ofAnswers, startPosition: ofAnswers, endPosition: ofAnswers }
}

/** Drops masked tokens and puts the rest one after the other. */
export function packTokens(inputs: TokenInputs, config: ModelConfig, labels: LabelsFor): PackedInputs {
  const given = check.checkObject('inputs', inputs)
  const known = ['inputIds', 'attentionMask', 'tokenTypeIds', 'positionIds', 'labels', 'choices', 'wordIds']
  if (config.exported?.decoder != null) known.push('decoderInputIds', 'decoderAttentionMask')
  check.checkKeys('inputs', given, known, (key) => (Object.hasOwn(elsewhere, key) ? elsewhere[key] : undefined))
  if (inputs.inputIds === undefined) throw check.typeError('inputs.inputIds', 'rows of token ids', undefined)
  const [idsName, maskName] = labels.tokens ?? ['inputIds', 'attentionMask']
  const ids = rowsOf(idsName, inputs.inputIds)
  if (ids.values.length === 0) throw check.valueError(idsName, 'expected at least one row, got an empty batch')
  const mask = alike(maskName, inputs.attentionMask, ids)
  const types = alike('tokenTypeIds', inputs.tokenTypeIds, ids)
  if (config.typeVocabSize === 0) checkNoTypes(types, config)
  const positions =
    alike('positionIds', inputs.positionIds, ids) ??
    (mask && { values: ids.values.map((row) => paddedPositions(row, config)) })
  const kept = keptColumns(ids, mask)
  const rowLengths = Int32Array.from(kept, (columns) => columns.length)
  const { maxLength, vocabSize, typeVocabSize } = rowLimits(config)
  if (positions === undefined) checkLengths(idsName, rowLengths, maxLength)
  const places = flatten(kept, (i, c) => i * ids.columns + c)
  const gather = (name: string, { values }: Pick<Rows, 'values'>, limit: number, what: string) =>
    flatten(kept, (i, c) => below(name, i, c, values[i]?.[c], limit, what))
  const placed = inputs.positionIds === undefined ? idsName : 'positionIds'
  return {
    batch: {
      inputIds: gather(idsName, ids, vocabSize, 'an id of the vocabulary'),
      rowLengths,
      tokenTypeIds: types && gather('tokenTypeIds', types, Math.max(1, typeVocabSize), 'a token type of the model'),
      positionIds: positions && gather(placed, positions, config.maxPositionEmbeddings, 'a position of the model'),
      ...labelBatch(inputs, { ids, kept }, config, labels)
    },
    rows: kept.length,
    columns: ids.columns,
    places
  }
}

function checkLengths(name: string, rowLengths: Int32Array, maxLength: number): void {
  rowLengths.forEach((length, i) => {
    if (length > maxLength) throw check.rangeError(`${name}[${i}]`, `at most ${maxLength} tokens`, length)
  })
}

/** Zeros are what a tokenizer fills in for models that have no types. */
function checkNoTypes(types: Rows | undefined, { modelType }: ModelConfig): void {
  if (types?.values.every((row) => Array.from(row).every((type) => Number(type) === 0)) ?? true) return
  throw check.valueError('tokenTypeIds', `expected zeros or nothing: a model of type ${modelType} has no token types`)
}

/** With padding, Hugging Face counts positions by column, but RoBERTa's by ids that are not padding. */
function paddedPositions(row: ArrayLike<number | bigint>, config: ModelConfig): number[] {
  let next = config.padTokenId + 1
  const byColumn = !positionsAfterPadding(config)
  return Array.from(row, (id, column) => {
    if (byColumn) return column
    return Number(id) === config.padTokenId ? config.padTokenId : next++
  })
}
