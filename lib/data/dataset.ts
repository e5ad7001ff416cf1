import { setImmediate } from 'node:timers/promises'
import * as check from '../config/check.js'
import { eachUnlessAborted } from './abort.js'
import type { Choice } from './choices.js'
import type { GivenAnswers } from './questions.js'
import { checkFieldNames, contentFields, meantContent, numberFields, type Spelling } from './row-fields.js'
import { checkValues, givenValues, type ValuesOfRow } from './value-rows.js'

/** A class's name or number, a value, or several of them: for multi-label rows and for tokens or words. */
export type Label = string | number | readonly string[] | ArrayLike<number>

interface Labelled {
  /** `label` and `labels` mean the same. */
  readonly label?: Label | null | undefined
  readonly labels?: Label | null | undefined
  /** Under a MultiTask block: the child that the row goes to, by name or number; in calls that give no taskIds. */
  readonly taskId?: string | number | undefined
}

export interface TextRow extends Labelled, Answered {
  readonly text: string
  readonly textPair?: string | null | undefined
  /** Question answering: where textPair answers text, as a QuestionRow has it. */
  readonly answers?: GivenAnswers | null | undefined
  readonly answerText?: string | null | undefined
  readonly answerStart?: number | null | undefined
}

/** A question about a context, in SQuAD's names: `{ question, context, answers: { text: [...], answer_start: [...] } }`. */
export interface QuestionRow extends Labelled {
  readonly question: string
  readonly context: string
  readonly answers?: GivenAnswers | null | undefined
  /** Instead of answers: one alone. */
  readonly answerText?: string | null | undefined
  readonly answerStart?: number | null | undefined
}

/** Texts to choose from, each with the row's own text; the label is the number of the right one. */
export interface ChoicesRow extends Labelled {
  readonly text?: string | null | undefined
  readonly choices: readonly Choice[]
}

/** A text word by word; its labels are one a word. */
export interface WordsRow extends Labelled {
  readonly words: readonly string[]
  /** Dependency parsing: each word's head, 0 for the root and 1 for the first word, and the relation to it. */
  readonly heads?: ArrayLike<number> | null | undefined
  readonly relations?: readonly (string | number)[] | null | undefined
}

/** Ids with their special tokens, as a tokenizer gave them. */
export interface IdsRow extends Labelled, Answered {
  readonly inputIds: ArrayLike<number>
  readonly tokenTypeIds?: ArrayLike<number> | null | undefined
  /** What tokenizers add; rows are not padded here, so it can say nothing but 1 for every id. */
  readonly attentionMask?: ArrayLike<number> | null | undefined
  /** Question answering: the first and the last token of the answer. */
  readonly startPosition?: number | null | undefined
  readonly endPosition?: number | null | undefined
}

/**
 * An image for a model of images: [channels, height, width] in one array, or with that shape, scaled as the model's image
 * processor does.
 */
export interface ImageRow extends Labelled {
  readonly pixelValues: ValuesOfRow
}

/** A sound or features for an exported network that reads them, of any length where its graph has one that differs. */
export interface SoundRow extends Labelled {
  readonly inputValues: ValuesOfRow
}
export interface FeaturesRow extends Labelled {
  readonly inputFeatures: ValuesOfRow
}

/** Of rows for an exported network with an encoder and a decoder: what the decoder reads, at most one of the two. */
interface Answered {
  /** Ids with the start token in front. Default: those of targetText, of a language-modelling head's labels, or of the row, shifted right. */
  readonly decoderInputIds?: ArrayLike<number> | null | undefined
  /** What the decoder is to write: its ids, shifted right, and the labels of a language-modelling head. */
  readonly targetText?: string | null | undefined
}

export type Row = TextRow | WordsRow | IdsRow | ImageRow | SoundRow | FeaturesRow | QuestionRow | ChoicesRow

/** Rows that need not be in memory: each is read when it is asked for, in whatever order (rowsFile). */
export interface IndexedRows {
  readonly length: number
  /** From 0. The same row each time. */
  at(index: number): Row
}

/** Rows of a dataset, or texts for heads that need no labels. Those that come one after the other are kept in memory: each epoch takes them in another order. */
export type Dataset = readonly (Row | string)[] | IndexedRows | Iterable<Row | string> | AsyncIterable<Row | string>

/** Whether rows stay where they are. */
export function isIndexed(dataset: unknown): dataset is IndexedRows {
  if (typeof dataset !== 'object' || dataset === null || Array.isArray(dataset)) return false
  const { length, at } = dataset as Partial<IndexedRows>
  return typeof length === 'number' && typeof at === 'function' && !ArrayBuffer.isView(dataset)
}

const largestId = 2 ** 31 - 1

/** Every row of a dataset, checked; at least one. */
export async function collectRows(dataset: Dataset, name = 'dataset', signal?: AbortSignal): Promise<readonly Row[]> {
  return nonEmpty(await collectAny(dataset, name, signal), name)
}

const expectedDataset = 'an array, an iterable or an async iterable of rows'

/** What iterators gave that can be gone through once alone, such as a generator's: whoever asks again gets the same. */
const given = new WeakMap<object, readonly Row[]>()

/** The same where there may be none. */
export async function collectAny(dataset: Dataset, name: string, signal?: AbortSignal): Promise<readonly Row[]> {
  if (typeof dataset === 'string') {
    const such = `, such as readRows('${dataset}') or await rowsFile('${dataset}')`
    throw check.typeError(name, expectedDataset + such, dataset)
  }
  if (typeof dataset === 'function') {
    const stream = ' (a function that gives rows, a stream, is for trainDataset of AdapterTrainer)'
    throw check.typeError(name, expectedDataset + stream, dataset)
  }
  if (typeof dataset !== 'object' || dataset === null) throw check.typeError(name, expectedDataset, dataset)
  if (dataset instanceof Promise) throw check.typeError(name, `${expectedDataset} (await what makes them)`, dataset)
  const known = given.get(dataset)
  if (known !== undefined) return known
  const rows = await read(dataset, name, signal)
  if ('next' in dataset) given.set(dataset, rows)
  return rows
}

async function read(dataset: Dataset, name: string, signal?: AbortSignal): Promise<readonly Row[]> {
  const rows: Row[] = []
  if (isIndexed(dataset)) {
    for (let i = 0; i < dataset.length; i++) {
      rows.push(checkRow(dataset.at(i), `${name}[${i}]`))
      await pauseAfter(rows.length, signal)
    }
    return rows
  }
  if (Symbol.asyncIterator in dataset) {
    for await (const row of signal === undefined ? dataset : eachUnlessAborted(dataset, signal)) {
      rows.push(takeRow(row, `${name}[${rows.length}]`))
    }
  } else if (Symbol.iterator in dataset) {
    for (const row of dataset) {
      rows.push(takeRow(row, `${name}[${rows.length}]`))
      await pauseAfter(rows.length, signal)
    }
  } else {
    const several = Object.keys(dataset).filter((key) => isListOfRows((dataset as Record<string, unknown>)[key]))
    const each = several.length === 0 ? '' : `, one of those under ${several.slice(0, 3).join(', ')}`
    throw check.typeError(name, expectedDataset + each, dataset)
  }
  return rows
}

const isListOfRows = (value: unknown): boolean => Array.isArray(value) && typeof value[0] === 'object'

/** A long list must not keep timers and sockets waiting. */
async function pauseAfter(rows: number, signal: AbortSignal | undefined): Promise<void> {
  if (rows % 1024 !== 0) return
  await setImmediate()
  signal?.throwIfAborted()
}

export function nonEmpty<Rows extends { readonly length: number }>(rows: Rows, name: string): Rows {
  if (rows.length === 0) throw check.valueError(name, 'it has no rows')
  return rows
}

const rowForm = "a row such as { text: '…', textPair: '…' }"

/** The same where a text alone is a row, too. */
export const takeRow = (row: unknown, name: string): Row =>
  checkRow(typeof row === 'string' ? { text: row } : row, name)

/** A row, or an error that names the field. Fields of no row (`id`, `source`) are left alone. */
export function checkRow(row: unknown, name: string, spelling: Spelling = (field) => field): Row {
  if (typeof row !== 'object' || Array.isArray(row)) throw check.typeError(name, rowForm, row)
  const given = check.checkObject(name, row)
  const names = Object.keys(given)
  checkFieldNames(name, names, spelling)
  const plain = [...contentFields, ...numberFields].filter((field) => given[field] != null)
  const contents = plain.length > 0 ? plain : ['question', 'choices'].filter((field) => given[field] != null)
  if (contents.length === 0) checkNotNull(given, name, spelling)
  if (contents.length !== 1) {
    const wanted = contentFields.map(spelling)
    const help = given['context'] != null ? ' A context goes with its question.' : meantContent(given, spelling)
    const got =
      contents.length === 0
        ? `got ${names.join(', ') || 'none'}.${help}`
        : `got ${contents.map(spelling).join(' and ')}`
    throw check.valueError(name, `expected one of ${wanted.slice(0, -1).join(', ')} or ${wanted.at(-1)}, ${got}`)
  }
  if (given['text'] != null) {
    check.checkString(`${name}.text`, given['text'])
    if (given['textPair'] != null) check.checkString(`${name}.textPair`, given['textPair'])
  }
  checkBeside(given, contents[0] as string, name, spelling)
  if (contents[0] === 'question') {
    check.checkString(`${name}.question`, given['question'])
    check.checkString(`${name}.context`, given['context'])
  }
  if (contents[0] === 'choices') check.checkArray(`${name}.choices`, given['choices'])
  if (given['words'] != null) {
    check.checkArray(`${name}.words`, given['words']).forEach((word, i) => {
      check.checkString(`${name}.words[${i}]`, word)
    })
  }
  if (given['inputIds'] != null) {
    const ids = checkIds(`${name}.inputIds`, given['inputIds'])
    const types = given['tokenTypeIds'] == null ? null : checkIds(`${name}.tokenTypeIds`, given['tokenTypeIds'])
    if (ids.length === 0) throw check.valueError(`${name}.inputIds`, 'a row needs at least one token')
    if (types !== null && types.length !== ids.length) {
      throw check.valueError(`${name}.tokenTypeIds`, `${types.length} types for ${ids.length} ids`)
    }
    if (given['attentionMask'] != null) checkMask(`${name}.attentionMask`, given['attentionMask'], ids.length)
  }
  if (given['decoderInputIds'] != null) {
    const ids = checkIds(`${name}.decoderInputIds`, given['decoderInputIds'])
    if (ids.length === 0) throw check.valueError(`${name}.decoderInputIds`, 'a decoder needs at least one token')
    if (given['targetText'] != null) throw check.valueError(name, 'give decoderInputIds or targetText, not both')
  }
  if (given['targetText'] != null) check.checkString(`${name}.targetText`, given['targetText'])
  const values = givenValues(given)
  if (values !== undefined) checkValues(`${name}.${values.name}`, values.values)
  if (given['label'] != null && given['labels'] != null) throw check.valueError(name, 'give label or labels, not both')
  return row as Row
}

/** Of a row whose content is there as a name alone, as in a file's column with gaps, what stands under the name is said. */
function checkNotNull(given: Readonly<Record<string, unknown>>, name: string, spelling: Spelling): void {
  const texts = ['text', 'question']
  const lists = ['words', 'choices']
  const empty = [...texts, ...lists, ...contentFields, ...numberFields].find((field) => Object.hasOwn(given, field))
  if (empty === undefined) return
  const expected = texts.includes(empty) ? 'a string' : lists.includes(empty) ? 'an array' : 'an array of numbers'
  throw check.typeError(`${name}.${spelling(empty)}`, expected, given[empty])
}

/** Fields that go with one kind of content: beside another they would be passed over. */
function checkBeside(
  given: Readonly<Record<string, unknown>>,
  content: string,
  name: string,
  spelling: Spelling
): void {
  const refuse = (field: string, owner: string) => {
    throw check.valueError(
      `${name}.${spelling(field)}`,
      `it goes with ${spelling(owner)} alone, and this row has ${spelling(content)}: leave it out`
    )
  }
  const isPaired = given['textPair'] != null && given['textPair'] !== ''
  if (isPaired && content !== 'text' && content !== 'choices') refuse('textPair', 'text')
  if (!['text', 'words', 'question', 'choices'].includes(content)) return
  for (const field of ['tokenTypeIds', 'attentionMask']) if (given[field] != null) refuse(field, 'inputIds')
}

function checkMask(name: string, value: unknown, count: number): void {
  const mask = checkIds(name, value)
  if (mask.length !== count) throw check.valueError(name, `${mask.length} values for ${count} ids`)
  const padding = Array.from(mask).findIndex((one) => one !== 1)
  if (padding < 0) return
  const message = `expected 1 for every id, got ${mask[padding]} at ${padding}. Rows are not padded here: leave such ids out`
  throw check.valueError(name, message)
}

function checkIds(name: string, value: unknown): ArrayLike<number> {
  if (value instanceof Int32Array) return value
  const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value)
  if (!isList) throw check.typeError(name, 'an array of ids', value)
  const ids = value as ArrayLike<number>
  for (let i = 0; i < ids.length; i++) check.checkInteger(`${name}[${i}]`, ids[i], 0, largestId)
  return ids
}

/** What stands under `label` or `labels`; null where the row has none. */
export function labelOf(row: Row): Label | null {
  return row.label ?? row.labels ?? null
}

/** Which of the two it is, for messages. */
export const labelField = (row: Row): 'label' | 'labels' =>
  (row.label ?? null) === null && row.labels != null ? 'labels' : 'label'

/** The same behind the row's place. */
export const labelPlace = (row: Row, place: string): string => `${place}.${labelField(row)}`

/** A label's parts: those of a list, or the one. */
export const labelItems = (label: Label): readonly unknown[] =>
  typeof label === 'object' && label !== null ? Array.from(label as ArrayLike<unknown>) : [label]

const places = new WeakMap<object, string>()

/** Remembers the file and line of a row, for messages about it. */
export function withPlace<R extends Row>(row: R, place: string): R {
  places.set(row, place)
  return row
}

/** Where a row was read; for one that comes from no file, what the caller calls it. */
export function placeOf(row: Row, otherwise: string): string {
  return places.get(row) ?? otherwise
}
