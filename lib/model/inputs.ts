import * as check from '../config/check.js'
import { isChoiceHead } from '../config/choice-heads.js'
import { type HeadConfig, hasManyLabels, predictsWords } from '../config/head-config.js'
import { type ImageShape, imageShape } from '../config/image-shape.js'
import { type ModelConfig, positionsAfterPadding, rowLimits } from '../config/model-config.js'
import { alignedLabels, ignoredLabel, labelsTokens } from '../data/labels.js'
import type { NativeBatch } from '../native/types.js'
import { type ChoiceInputs, choiceBatch } from './choice-inputs.js'
import { imagePlaces, imagesOf, type PixelValues } from './image-inputs.js'

/** Numbers with their shape, row-major: `{ data: Int32Array, shape: [2, 8] }`. */
export interface Shaped<T extends ArrayLike<number | bigint> = ArrayLike<number | bigint>> {
  readonly data: T
  readonly shape: readonly number[]
}

/** Rows of any length, or a padded rectangle [rows, columns]. */
export type Ids = readonly ArrayLike<number>[] | Shaped

export type ForwardInputs = TokenInputs | ImageInputs

export interface TokenInputs {
  readonly inputIds: Ids
  /** 1 where a token is real, 0 where it is padding. Masked tokens are left out of the computation altogether. */
  readonly attentionMask?: Ids | undefined
  readonly tokenTypeIds?: Ids | undefined
  /** Default: the model's own rule, as Hugging Face counts them. */
  readonly positionIds?: Ids | undefined
  /**
   * One for each row (class number, or a value for regression), [rows][labels] for multi-label, [rows][tokens] for
   * tagging and masked language modelling, where -100 marks a token without a label. Question answering: [rows][2], the
   * first and the last token; multiple choice: one for each question; dependency parsing: [rows][words × 2], each word's
   * head (0: the root, 1: the first word) and relation.
   */
  readonly labels?: ArrayLike<number> | readonly ArrayLike<number>[] | Shaped | undefined
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

interface Rows {
  readonly values: readonly ArrayLike<number | bigint>[]
  readonly columns: number
}

function rowsOf(name: string, ids: Ids): Rows {
  if (Array.isArray(ids)) {
    ids.forEach((row, i) => {
      if (typeof row !== 'object' || row === null || typeof row.length !== 'number') {
        throw check.typeError(`${name}[${i}]`, 'an array of numbers', row)
      }
    })
    return { values: ids, columns: Math.max(0, ...ids.map((row) => row.length)) }
  }
  const { data, shape } = check.checkObject(name, ids) as unknown as Shaped
  if (typeof data?.length !== 'number' || !Array.isArray(shape) || shape.length !== 2) {
    throw check.typeError(name, 'rows of numbers, or { data, shape: [rows, columns] }', ids)
  }
  const [rows = 0, columns = 0] = shape as number[]
  if (rows * columns !== data.length) {
    throw check.valueError(
      name,
      `expected ${rows} × ${columns} = ${rows * columns} values for its shape, got ${data.length}`
    )
  }
  const array = data as unknown as {
    subarray?: (a: number, b: number) => ArrayLike<number>
    slice: (a: number, b: number) => ArrayLike<number>
  }
  const cut = (a: number, b: number) => (array.subarray ? array.subarray(a, b) : array.slice(a, b))
  return { values: Array.from({ length: rows }, (_, i) => cut(i * columns, (i + 1) * columns)), columns }
}

/** Another input over the same tokens: as many rows, each as long. */
function alike(name: string, ids: Ids | undefined, like: Rows): Rows | undefined {
  if (ids === undefined) return undefined
  const rows = rowsOf(name, ids)
  if (rows.values.length !== like.values.length) {
    throw check.valueError(name, `expected ${like.values.length} rows as in inputIds, got ${rows.values.length}`)
  }
  rows.values.forEach((row, i) => {
    const length = like.values[i]?.length ?? 0
    if (row.length !== length)
      throw check.valueError(`${name}[${i}]`, `expected ${length} values as in inputIds, got ${row.length}`)
  })
  return rows
}

/**
 * Rows as the core takes them, one after the other.
 * @param labelsName what errors call the labels
 */
export function packInputs(
  given: ForwardInputs,
  config: ModelConfig,
  head: HeadConfig | undefined,
  labelsName = 'labels'
): PackedInputs {
  const inputs = check.checkObject('inputs', given)
  const image = imageShape(config)
  if (image === null && inputs['pixelValues'] !== undefined) {
    throw check.valueError('inputs', 'expected inputIds: an image was given to a model of text')
  }
  const labels = { head, name: labelsName }
  return image === null
    ? packTokens(given as TokenInputs, config, labels)
    : packImages(given as ImageInputs, image, labels)
}

/** The head that the labels are for, and what errors call them. */
interface LabelsFor {
  readonly head: HeadConfig | undefined
  readonly name: string
}

function packImages(inputs: ImageInputs, shape: ImageShape, { head, name }: LabelsFor): PackedInputs {
  const given = check.checkObject('inputs', inputs)
  if (given['inputIds'] !== undefined)
    throw check.valueError('inputs', 'expected pixelValues: ids were given to a model of images')
  check.checkKeys('inputs', given, ['pixelValues', 'labels'])
  if (inputs.pixelValues === undefined) throw check.typeError('inputs.pixelValues', 'images', undefined)
  const pixelValues = imagesOf(inputs.pixelValues, shape)
  const rows = pixelValues.length
  const { columns, places } = imagePlaces(rows, shape)
  const rowLengths = new Int32Array(rows).fill(columns)
  const labels = rowLabels(inputs.labels, head, rows, name)
  return { batch: { inputIds: new Int32Array(0), pixelValues, rowLengths, labels }, rows, columns, places }
}

/** Drops masked tokens and puts the rest one after the other. */
function packTokens(inputs: TokenInputs, config: ModelConfig, { head, name: labelsName }: LabelsFor): PackedInputs {
  const given = check.checkObject('inputs', inputs)
  check.checkKeys('inputs', given, [
    ...['inputIds', 'attentionMask', 'tokenTypeIds', 'positionIds', 'labels'],
    ...['choices', 'wordIds']
  ])
  if (inputs.inputIds === undefined) throw check.typeError('inputs.inputIds', 'rows of token ids', undefined)
  const ids = rowsOf('inputIds', inputs.inputIds)
  if (ids.values.length === 0) throw check.valueError('inputIds', 'expected at least one row, got an empty batch')
  const mask = alike('attentionMask', inputs.attentionMask, ids)
  const types = alike('tokenTypeIds', inputs.tokenTypeIds, ids)
  if (config.typeVocabSize === 0) checkNoTypes(types, config)
  const positions =
    alike('positionIds', inputs.positionIds, ids) ??
    (mask && { values: ids.values.map((row) => paddedPositions(row, config)) })
  const tokenLabels =
    head && labelsTokens(head) && inputs.labels !== undefined ? alike(labelsName, inputs.labels as Ids, ids) : undefined

  const kept = ids.values.map((row, i) => {
    const columns: number[] = []
    for (let c = 0; c < row.length; c++) if (!mask || isReal(i, c, mask.values[i]?.[c])) columns.push(c)
    if (columns.length === 0) {
      throw check.valueError(
        `inputIds[${i}]`,
        mask ? 'the mask leaves this row without a token' : 'this row has no tokens'
      )
    }
    return columns
  })
  const rowLengths = Int32Array.from(kept, (columns) => columns.length)
  const { maxLength, vocabSize, typeVocabSize } = rowLimits(config)
  if (positions === undefined) checkLengths(rowLengths, maxLength)
  const places = flatten(kept, (i, c) => i * ids.columns + c)
  const gather = (name: string, { values }: Pick<Rows, 'values'>, limit: number, what: string) =>
    flatten(kept, (i, c) => below(name, i, c, values[i]?.[c], limit, what))
  const placed = inputs.positionIds === undefined ? 'inputIds' : 'positionIds'
  return {
    batch: {
      inputIds: gather('inputIds', ids, vocabSize, 'an id of the vocabulary'),
      rowLengths,
      tokenTypeIds: types && gather('tokenTypeIds', types, Math.max(1, typeVocabSize), 'a token type of the model'),
      positionIds: positions && gather(placed, positions, config.maxPositionEmbeddings, 'a position of the model'),
      ...(head !== undefined && isChoiceHead(head)
        ? choiceBatch(choiceInputs(inputs, ids, kept), head, kept, labelsName)
        : {
            labels: tokenLabels
              ? tokenLabelsOf(tokenLabels, kept, head, config, labelsName)
              : rowLabels(inputs.labels, head, rowLengths.length, labelsName),
            ...otherRows(choiceInputs({ ...inputs, labels: undefined }, ids, kept))
          })
    },
    rows: kept.length,
    columns: ids.columns,
    places
  }
}

/** For rows of other heads in the batch. */
function otherRows({ choices, wordIds }: ChoiceInputs): Pick<NativeBatch, 'choices' | 'wordIds'> {
  return {
    choices: choices && Int32Array.from(choices),
    wordIds: wordIds && Int32Array.from(wordIds.flatMap((row) => Array.from(row)))
  }
}

function choiceInputs(inputs: TokenInputs, ids: Rows, kept: readonly number[][]): ChoiceInputs {
  const wordIds = alike('wordIds', inputs.wordIds, ids)
  const { labels } = inputs
  const isFlat = Array.isArray(labels) || ArrayBuffer.isView(labels)
  const rows =
    labels === undefined
      ? undefined
      : isFlat
        ? Array.from(labels as ArrayLike<unknown>)
        : rowsOf('labels', labels as Ids).values
  return {
    choices: inputs.choices,
    wordIds:
      wordIds &&
      kept.map((columns, i) => Int32Array.from(columns, (c) => integer('wordIds', i, c, wordIds.values[i]?.[c]))),
    labels: rows?.map((row) => (typeof row === 'object' ? Array.from(row as ArrayLike<number>) : [Number(row)]))
  }
}

function checkLengths(rowLengths: Int32Array, maxLength: number): void {
  rowLengths.forEach((length, i) => {
    if (length > maxLength) throw check.rangeError(`inputIds[${i}]`, `at most ${maxLength} tokens`, length)
  })
}

/** Each row's labels, as its head reads them, one row after the other. */
function tokenLabelsOf(
  labels: Rows,
  kept: readonly number[][],
  head: HeadConfig | undefined,
  { vocabSize }: ModelConfig,
  name: string
): Int32Array {
  const classes = head !== undefined && 'numLabels' in head ? head.numLabels : vocabSize
  const rows = kept.map((columns, i) => {
    const row = columns.map((c) => labelId(`${name}[${i}][${c}]`, integer(name, i, c, labels.values[i]?.[c]), classes))
    return head === undefined ? row : alignedLabels(row, head)
  })
  return Int32Array.from(rows.flatMap((row) => Array.from(row)))
}

function labelId(name: string, label: number, classes: number): number {
  if (label === ignoredLabel || (label >= 0 && label < classes)) return label
  throw check.rangeError(name, `a label from 0 to ${classes - 1}, or ${ignoredLabel} for none`, label)
}

/** Zeros are what a tokenizer fills in for models that have no types. */
function checkNoTypes(types: Rows | undefined, { modelType }: ModelConfig): void {
  if (types?.values.every((row) => Array.from(row).every((type) => Number(type) === 0)) ?? true) return
  throw check.valueError('tokenTypeIds', `expected zeros or nothing: a model of type ${modelType} has no token types`)
}

function flatten(kept: readonly number[][], value: (row: number, column: number) => number): Int32Array {
  const all = new Int32Array(kept.reduce((sum, columns) => sum + columns.length, 0))
  let at = 0
  kept.forEach((columns, i) => {
    for (const c of columns) all[at++] = value(i, c)
  })
  return all
}

function integer(name: string, row: number, column: number, value: number | bigint | undefined): number {
  const number = Number(value)
  if (!Number.isInteger(number) || Math.abs(number) > 0x7fffffff) {
    throw check.typeError(`${name}[${row}][${column}]`, 'a whole number', value)
  }
  return number
}

function below(
  name: string,
  row: number,
  column: number,
  value: number | bigint | undefined,
  limit: number,
  what: string
): number {
  const number = integer(name, row, column, value)
  if (number >= 0 && number < limit) return number
  throw check.rangeError(`${name}[${row}][${column}]`, `${what}, from 0 to ${limit - 1}`, number)
}

/** A mask of weights, or an additive one of 0 and -10000, means something else. */
function isReal(row: number, column: number, value: number | bigint | undefined): boolean {
  const number = Number(value)
  if (number === 0 || number === 1) return number === 1
  throw check.rangeError(`attentionMask[${row}][${column}]`, '1 for a token or 0 for padding', value)
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

function rowLabels(
  labels: TokenInputs['labels'],
  head: HeadConfig | undefined,
  rows: number,
  name: string
): Int32Array | Float32Array | undefined {
  if (labels === undefined || head === undefined || predictsWords(head) || isChoiceHead(head)) return undefined
  const flat = flatNumbers(labels)
  const { numLabels } = head
  const many = hasManyLabels(head)
  const width = many ? numLabels : 1
  if (flat.length !== rows * width) {
    const expected = `${rows * width} ${width === 1 ? 'labels, one for each row' : `numbers, ${width} for each row`}`
    throw check.valueError(name, `expected ${expected}, got ${flat.length}`)
  }
  return many || numLabels === 1
    ? Float32Array.from(flat, (label, i) => check.checkNumber(`${name}[${i}]`, label))
    : Int32Array.from(flat, (label, i) => labelId(`${name}[${i}]`, integer(name, i, 0, label), numLabels))
}

function flatNumbers(labels: NonNullable<TokenInputs['labels']>): number[] {
  const list = (typeof (labels as Shaped).shape === 'object' ? (labels as Shaped).data : labels) as ArrayLike<unknown>
  if (typeof list.length !== 'number') throw check.typeError('labels', 'numbers, or rows of numbers', labels)
  return Array.from(list).flatMap((label) => {
    return typeof label === 'object' && label !== null
      ? Array.from(label as ArrayLike<number>, Number)
      : [Number(label)]
  })
}
