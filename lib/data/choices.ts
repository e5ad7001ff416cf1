import * as check from '../config/check.js'
import type { MultipleChoiceHeadConfig } from '../config/choice-heads.js'
import type { EncodedRow } from './collate.js'
import { type IdsRow, labelOf, type Row, type TextRow } from './dataset.js'
import { idOfName } from './labels.js'

/** A choice: the text that goes with the row's own, or a row of its own. */
export type Choice = string | TextRow | IdsRow

/** The choices of a row as rows: with the row's own text each is the second of a pair. */
export function choiceRows(row: Row, name: string): (TextRow | IdsRow)[] {
  const {
    text = null,
    textPair,
    choices
  } = row as unknown as Readonly<Record<string, unknown>> & { text?: string | null }
  if (textPair != null)
    throw check.valueError(
      name,
      "with choices the row's own text is the first of each pair: expected text alone, got textPair"
    )
  const list = check.checkArray(`${name}.choices`, choices)
  if (list.length === 0) throw check.valueError(`${name}.choices`, 'expected at least one choice')
  return list.map((choice, i) => {
    if (typeof choice === 'string') return text === null ? { text: choice } : { text, textPair: choice }
    const place = `${name}.choices[${i}]`
    if (typeof choice !== 'object') throw check.typeError(place, 'a text, or a row of text or inputIds', choice)
    const own = check.checkObject(place, choice)
    if (text !== null) throw check.typeError(place, "a text, to go with the row's own", choice)
    if (own['text'] == null && own['inputIds'] == null) throw check.valueError(place, 'expected text or inputIds')
    return own as unknown as TextRow | IdsRow
  })
}

/** The right choice: its number, its text, or what the head calls it. */
export function choiceLabel(row: Row, head: MultipleChoiceHeadConfig, name: string): Int32Array | undefined {
  const choices = choiceRows(row, name)
  const label = labelOf(row)
  if (label === null) return undefined
  const { choices: given } = row as unknown as { choices: readonly unknown[] }
  const named = typeof label === 'string' ? (idOfName(head, label, `${name}.label`) ?? given.indexOf(label)) : -1
  const isNumber = typeof label === 'number' || (typeof label === 'string' && /^(0|[1-9]\d{0,8})$/.test(label))
  if (named < 0 && !isNumber) {
    throw check.valueError(
      `${name}.label`,
      `expected the number of the right choice, or its text, got ${check.describe(label)}`
    )
  }
  return Int32Array.of(check.checkInteger(`${name}.label`, named < 0 ? Number(label) : named, 0, choices.length - 1))
}

/** @param encode makes one choice's row */
export function encodeChoices(
  row: Row,
  head: MultipleChoiceHeadConfig,
  encode: (row: Row, name: string) => EncodedRow,
  name: string
): EncodedRow {
  const encoded = choiceRows(row, name).map((choice, i) => encode(choice, `${name}.choices[${i}]`))
  const all = (of: (row: EncodedRow) => Int32Array) => Int32Array.from(encoded.flatMap((one) => Array.from(of(one))))
  return {
    inputIds: all((one) => one.inputIds),
    tokenTypeIds: all((one) => one.tokenTypeIds),
    parts: Int32Array.from(encoded, (one) => one.inputIds.length),
    label: choiceLabel(row, head, name)
  }
}
