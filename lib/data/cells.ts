import { camelCase } from '../config/case.js'
import { describe } from '../config/check.js'
import { AdapterError } from '../native/errors.js'
import { ignoredLabel } from './labels.js'

/**
 * What the text in the cells of a record stands for. `words`, `input_ids` and what goes with them are a JSON array, or their
 * values with spaces between. So is `labels` beside them, one label for each; `label` is one label for the row, whatever
 * spaces and brackets its name has, and a JSON array where it is a list. A list that is no JSON, as Python prints it, is an
 * error.
 * @param where the record's file and line
 */
export function cellValues(record: Readonly<Record<string, string>>, where: string): Record<string, unknown> {
  const filled = Object.entries(record).flatMap(([name, cell]) => (cell === '' ? [] : [camelCase(name)]))
  const hasItems = filled.includes('words') || filled.includes('inputIds')
  return Object.fromEntries(
    Object.entries(record).map(([name, cell]) => [name, valueIn({ field: camelCase(name), cell, where }, hasItems)])
  )
}

interface Cell {
  readonly field: string
  readonly cell: string
  /** The record's file and line. */
  readonly where: string
  /** Where it is not the field's: which cells that are no JSON were meant to be a list. */
  readonly meant?: RegExp
}

function valueIn(given: Cell, hasItems: boolean): unknown {
  const { field, cell } = given
  // An empty text is one, unless the row's content stands in another column.
  if (cell === '') return field === 'text' && hasItems ? null : cell
  switch (field) {
    case 'words':
      return wordsOf(given)
    case 'inputIds':
    case 'tokenTypeIds':
    case 'attentionMask':
    case 'decoderInputIds':
    case 'heads':
      return listIn(given) ?? split(cell).map(numberOr)
    case 'startPosition':
    case 'endPosition':
    case 'answerStart':
      return listIn(given) ?? numberOr(cell.trim())
    case 'relations':
      return hasItems ? (listIn(given) ?? split(cell)) : cell
    case 'labels':
      return hasItems
        ? (listIn(given) ?? split(cell).map(labelOf))
        : (listIn({ ...given, meant: listOfLabels }) ?? cell)
    case 'answers':
      return parsed(given) ?? cell
    case 'label':
      return listIn({ ...given, meant: listOfLabels }) ?? cell
    case 'choices':
    case 'pixelValues':
    case 'inputValues':
    case 'inputFeatures':
      return listIn(given) ?? cell
    default:
      return cell
  }
}

/** `[ 1 ]` are three words; only a list with texts is JSON here. */
function wordsOf(given: Cell): unknown[] {
  const list = listIn(given)
  return list?.some((word) => typeof word === 'string') ? list : split(given.cell)
}

const listIn = (given: Cell): unknown[] | undefined =>
  /^\s*\[/.test(given.cell) ? (parsed(given) as unknown[] | undefined) : undefined

/** Undefined where a cell is no JSON and does not look like any. */
function parsed({ field, cell, where, meant = meansList[field] ?? anyList }: Cell): unknown {
  try {
    return JSON.parse(cell)
  } catch (cause) {
    if (!meant.test(cell)) return undefined
    throw new AdapterError('ERR_INVALID_FILE', 'read rows', `${where}.${field}: this list is no JSON`, {
      expected: 'one as JSON writes it, such as ["A", "B"] or [1, 2]',
      got: describe(cell),
      hint: 'pandas writes lists as Python prints them: give such a column through json.dumps before to_csv.',
      cause
    })
  }
}

const anyList = /^\s*\[/
/** A class may be called `[not sure]`: a list is what has quotes or brackets behind its bracket, a comma, or values alone. */
const listOfLabels = /^\s*\[(?:\s*['"[{(]|[^\]]*,|(?:[\d\s.eE+-]|nan|inf|None|True|False)+\]?\s*$)/
/** Of names with spaces between: `[spam]` and `[CLS] O [SEP]` are some. */
const listOfNames = /^\s*\[(?:\s*['"[{(]|[^[\]]*$|(?=[^[\]]*[\s,])[^[\]]*\]\s*$)/
/** Of cells that are no JSON, those that were meant to be. */
const meansList: Readonly<Record<string, RegExp>> = {
  // Of `[ 'a' ]` each part is a word.
  words: /^\s*\[['"].*['"]\]\s*$/s,
  ...{ labels: listOfNames, relations: listOfNames },
  answers: /^\s*(?:\[|\{\s*['"])/
}

const split = (cell: string) => cell.split(/[ \r\n]+/).filter((part) => part !== '')

/** What is no number stays text, and the row's check names it. */
const numberOr = (part: string) => (/^-?\d+$/.test(part) ? Number(part) : part)

/** Numbers stay text as in any other cell: they may be names of labels. */
const labelOf = (part: string) => (part === String(ignoredLabel) ? ignoredLabel : part)
