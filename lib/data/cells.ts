import { camelCase } from '../config/case.js'
import { ignoredLabel } from './labels.js'

/**
 * What the text in the cells of a record stands for. `words`, `input_ids` and what goes with them are a JSON array, or their
 * values with spaces between. So is `labels` beside them, one label for each; `label` is one label for the row, whatever
 * spaces its name has, and a JSON array where it is a list.
 */
export function cellValues(record: Readonly<Record<string, string>>): Record<string, unknown> {
  const filled = Object.entries(record).flatMap(([name, cell]) => (cell === '' ? [] : [camelCase(name)]))
  const hasItems = filled.includes('words') || filled.includes('inputIds')
  return Object.fromEntries(
    Object.entries(record).map(([name, cell]) => [name, valueIn(camelCase(name), cell, hasItems)])
  )
}

function valueIn(field: string, cell: string, hasItems: boolean): unknown {
  // An empty text is one, unless the row's content stands in another column.
  if (cell === '') return field === 'text' && hasItems ? null : cell
  switch (field) {
    case 'words':
      return wordsOf(cell)
    case 'inputIds':
    case 'tokenTypeIds':
    case 'attentionMask':
      return jsonArray(cell) ?? split(cell).map(numberOr)
    case 'heads':
    case 'startPosition':
    case 'endPosition':
    case 'answerStart':
      return jsonArray(cell) ?? (field === 'heads' ? split(cell).map(numberOr) : numberOr(cell.trim()))
    case 'relations':
      return hasItems ? (jsonArray(cell) ?? split(cell)) : cell
    case 'choices':
      return jsonArray(cell) ?? cell
    case 'answers':
      return jsonValue(cell) ?? cell
    case 'labels':
      return jsonArray(cell) ?? (hasItems ? split(cell).map(labelOf) : cell)
    case 'label':
      return jsonArray(cell) ?? cell
    default:
      return cell
  }
}

/** `[ 1 ]` are three words; only a list of texts is JSON here. */
function wordsOf(cell: string): unknown[] {
  const list = jsonArray(cell)
  return list !== undefined && list.length > 0 && list.every((word) => typeof word === 'string') ? list : split(cell)
}

/** SQuAD's answers are an object of lists. */
function jsonValue(cell: string): unknown {
  try {
    return JSON.parse(cell)
  } catch {
    return undefined
  }
}

function jsonArray(cell: string): unknown[] | undefined {
  if (!/^\s*\[.*\]\s*$/s.test(cell)) return undefined
  try {
    return JSON.parse(cell) as unknown[]
  } catch {
    return undefined
  }
}

const split = (cell: string) => cell.split(/[ \r\n]+/).filter((part) => part !== '')

/** What is no number stays text, and the row's check names it. */
const numberOr = (part: string) => (/^-?\d+$/.test(part) ? Number(part) : part)

/** Numbers stay text as in any other cell: they may be names of labels. */
const labelOf = (part: string) => (part === String(ignoredLabel) ? ignoredLabel : part)
