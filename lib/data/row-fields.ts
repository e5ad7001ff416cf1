import * as check from '../config/check.js'
import { editDistance, longestWord, nearest, plain } from '../config/nearest.js'
import { Recent } from './recent.js'

/** The fields of a row that mean something here. All others (`id`, `source`) are the caller's own. */
export const rowFields: readonly string[] = [
  ...['text', 'textPair', 'words', 'inputIds', 'tokenTypeIds', 'attentionMask', 'pixelValues'],
  ...['inputValues', 'inputFeatures', 'decoderInputIds', 'targetText'],
  ...['label', 'labels']
]

/** Fields that heads of one kind read and that are otherwise the caller's own: a class may have a `context`. */
export const headFields: readonly string[] = [
  ...['question', 'context', 'answers', 'answerText', 'answerStart', 'startPosition', 'endPosition'],
  ...['choices', 'heads', 'relations']
]

export const contentFields: readonly string[] = ['text', 'words', 'inputIds', 'pixelValues']
/** Content of rows for exported networks of sounds and features. */
export const numberFields: readonly string[] = ['inputValues', 'inputFeatures']

/** How a field is spelled where the row comes from: as it is, or in snake_case. */
export type Spelling = (field: string) => string

// A row whose content is misspelled is refused in any case, but one without its label or second text would do.
const silent = ['textPair', 'tokenTypeIds', 'label', 'labels']

const wordsIn = (name: string) => name.split(/[_\-\s]+|(?<=[a-z])(?=[A-Z])/).length

/**
 * The field that a stray name means: the same letters in another spelling, or very near ones. `label_2`, `labelText`,
 * `text_part` and `word` are names of their own.
 */
export function misspelledField(name: string): string | undefined {
  if (rowFields.includes(name) || name.length > longestWord) return undefined
  return judged.take(name, () => meantField(name) ?? null) ?? undefined
}

/** Rows of a file have the same few names. */
const judged = new Recent<string, string | null>(256)

function meantField(name: string): string | undefined {
  const same = rowFields.find((field) => plain(field) === plain(name))
  if (same !== undefined || /\d/.test(name)) return same
  const words = wordsIn(name)
  return silent.find((field) => {
    if (words !== 1 && words !== wordsIn(field)) return false
    return editDistance(plain(name), plain(field)) <= (field.length > 10 ? 2 : 1)
  })
}

export function checkFieldNames(row: string, names: readonly string[], spelling: Spelling): void {
  for (const name of names) {
    const meant = misspelledField(name)
    if (meant !== undefined) {
      throw check.valueError(row, `unknown field '${name}'. Did you mean '${spelling(meant)}'?`)
    }
  }
}

/** What the columns of well-known datasets are called. */
const elsewhere: Readonly<Record<string, string>> = {
  ...{ sentence: 'text', sentence1: 'text', premise: 'text', review: 'text', content: 'text', document: 'text' },
  ...{ image: 'pixelValues', tokens: 'words', sentence2: 'textPair', hypothesis: 'textPair' }
}

/** For a row without content: which of its fields may have been meant for one. */
export function meantContent(row: Readonly<Record<string, unknown>>, spelling: Spelling): string {
  const names = Object.keys(row)
  for (const name of names) {
    const meant = rowFields.includes(name) ? undefined : (elsewhere[plain(name)] ?? nearest(name, rowFields))
    if (meant !== undefined) return ` Did you mean '${spelling(meant)}' instead of '${name}'?`
  }
  const isNumbers = (value: unknown) =>
    ArrayBuffer.isView(value) || (Array.isArray(value) && typeof value[0] === 'number')
  const numbers = names.find((name) => !rowFields.includes(name) && isNumbers(row[name]))
  if (numbers === undefined) return ''
  const [values, pixels] = ['inputValues', 'pixelValues'].map(spelling)
  return ` Numbers are ${values}, those of images ${pixels}, whatever the network calls them, such as '${numbers}'.`
}

/** The same for what a head learns from. */
const labelsElsewhere: Readonly<Record<string, readonly string[]>> = {
  label: [
    ...['labelid', 'labeltext', 'class', 'category', 'target', 'sentiment', 'stars', 'rating', 'score', 'gold', 'tag'],
    ...['answer', 'answerkey', 'correct', 'labelids', 'tags', 'nertags', 'postags', 'chunktags', 'upos', 'xpos']
  ],
  answers: ['answer', 'answertext'],
  heads: ['head'],
  relations: ['relation', 'deprel', 'deprels', 'rel']
}

/** `'labels' instead of 'ner_tags'`, by a row's names; '' where none of them may have been meant. */
export function didYouMeanLabel(names: readonly string[], field: string): string {
  const known = labelsElsewhere[field === 'labels' ? 'label' : field] ?? []
  const found = names.find((name) => known.includes(plain(name)))
  return found === undefined ? '' : ` Did you mean '${field}' instead of '${found}'?`
}
