import * as check from '../config/check.js'
import { isChoiceHead } from '../config/choice-heads.js'
import { type HeadConfig, hasManyLabels, predictsWords } from '../config/head-config.js'
import type { ModelConfig } from '../config/model-config.js'
import { alignedLabels, ignoredLabel, labelsTokens } from '../data/labels.js'
import type { NativeBatch } from '../native/pass-types.js'
import { type ChoiceInputs, choiceBatch } from './choice-inputs.js'
import { alike, type Ids, integer, keptColumns, type Rows, rowsOf, type Shaped } from './input-rows.js'

export type Labels = ArrayLike<number> | readonly ArrayLike<number>[] | Shaped

/** What labels of rows of tokens are read from. */
export interface LabelledRows {
  readonly inputIds: Ids
  readonly attentionMask?: Ids | undefined
  readonly labels?: Labels | undefined
  readonly choices?: ArrayLike<number> | undefined
  readonly wordIds?: Ids | undefined
}

/** The head that the labels are for, and what errors call them. */
export interface LabelsFor {
  readonly head: HeadConfig | undefined
  readonly name: string
  /** Labels of a language-modelling head are what each token is to give, as of a decoder, not what each token is. */
  readonly isAligned?: boolean
  /** What the caller calls the tokens and their mask. Default inputIds and attentionMask. */
  readonly tokens?: readonly [ids: string, mask: string]
}

/** Labels as the head reads them, and what heads that choose get beside ids. @param kept of `ids`, the real tokens */
export function labelBatch(
  inputs: LabelledRows,
  { ids, kept }: { readonly ids: Rows; readonly kept: readonly number[][] },
  config: ModelConfig,
  { head, name, isAligned = false }: LabelsFor
): Pick<NativeBatch, 'labels' | 'choices' | 'wordIds'> {
  if (inputs.labels === null) throw check.typeError(name, 'numbers, or rows of numbers', null)
  if (head !== undefined && head.headType !== 'multiple_choice' && inputs.choices !== undefined)
    throw check.valueError('inputs.choices', `a head of kind ${head.headType} reads none; leave it out`)
  if (head !== undefined && isChoiceHead(head)) return choiceBatch(choiceInputs(inputs, ids, kept), head, kept, name)
  const tokens = head && labelsTokens(head) && inputs.labels !== undefined && alike(name, inputs.labels as Ids, ids)
  return {
    labels: tokens
      ? tokenLabelsOf(tokens, kept, head, config, name, isAligned)
      : rowLabels(inputs.labels, head, kept.length, name),
    ...otherRows(choiceInputs({ ...inputs, labels: undefined }, ids, kept))
  }
}

/** The labels alone, of rows that are packed elsewhere. */
export function labelsOf(inputs: LabelledRows, config: ModelConfig, labels: LabelsFor): NativeBatch['labels'] {
  const ids = rowsOf('inputIds', inputs.inputIds)
  const kept = keptColumns(ids, alike('attentionMask', inputs.attentionMask, ids))
  return labelBatch(inputs, { ids, kept }, config, labels).labels
}

/** For rows of other heads in the batch. */
function otherRows({ choices, wordIds }: ChoiceInputs): Pick<NativeBatch, 'choices' | 'wordIds'> {
  return {
    choices: choices && Int32Array.from(choices),
    wordIds: wordIds && Int32Array.from(wordIds.flatMap((row) => Array.from(row)))
  }
}

function choiceInputs(inputs: LabelledRows, ids: Rows, kept: readonly number[][]): ChoiceInputs {
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
    labels: rows?.map((row, i) =>
      typeof row === 'object' && row !== null
        ? Array.from(row as ArrayLike<unknown>, (one, j) => labelNumber(one, `labels[${i}][${j}]`))
        : [labelNumber(row, `labels[${i}]`)]
    )
  }
}

/** Each row's labels, as its head reads them, one row after the other. */
export function tokenLabelsOf(
  labels: Rows,
  kept: readonly number[][],
  head: HeadConfig | undefined,
  { vocabSize }: Pick<ModelConfig, 'vocabSize'>,
  name: string,
  isAligned = false
): Int32Array {
  const classes = head !== undefined && 'numLabels' in head ? head.numLabels : vocabSize
  const rows = kept.map((columns, i) => {
    const row = columns.map((c) => labelId(`${name}[${i}][${c}]`, integer(name, i, c, labels.values[i]?.[c]), classes))
    return head === undefined || isAligned ? row : alignedLabels(row, head)
  })
  return Int32Array.from(rows.flatMap((row) => Array.from(row)))
}

function labelId(name: string, label: number, classes: number): number {
  if (label === ignoredLabel || (label >= 0 && label < classes)) return label
  throw check.rangeError(name, `a label from 0 to ${classes - 1}, or ${ignoredLabel} for none`, label)
}

export function rowLabels(
  labels: Labels | undefined,
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
  if (many) {
    const place = (i: number) => `${name}[${Math.floor(i / numLabels)}][${i % numLabels}]`
    return Float32Array.from(flat, (label, i) => check.checkNumber(place(i), label, { from: 0, to: 1 }))
  }
  if (numLabels === 1) return Float32Array.from(flat, (label, i) => check.checkNumber(`${name}[${i}]`, label))
  return Int32Array.from(flat, (label, i) =>
    labelId(`${name}[${i}]`, check.checkInteger(`${name}[${i}]`, label), numLabels)
  )
}

function flatNumbers(labels: Labels): number[] {
  const list = (typeof (labels as Shaped).shape === 'object' ? (labels as Shaped).data : labels) as ArrayLike<unknown>
  if (typeof list.length !== 'number') throw check.typeError('labels', 'numbers, or rows of numbers', labels)
  return Array.from(list).flatMap((label, i) => {
    if (typeof label === 'object' && label !== null)
      return Array.from(label as ArrayLike<unknown>, (one, j) => labelNumber(one, `labels[${i}][${j}]`))
    return [labelNumber(label, `labels[${i}]`)]
  })
}

function labelNumber(label: unknown, name: string): number {
  if (typeof label === 'number' || typeof label === 'bigint') return Number(label)
  const isName = typeof label === 'string'
  const expected = isName ? 'a number (names of labels are read by predict, evaluate and training)' : 'a number'
  throw check.typeError(name, expected, label)
}
