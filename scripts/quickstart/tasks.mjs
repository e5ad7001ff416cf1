// What the quickstart can learn: three tasks made from WordNet, or the user's own rows.
//
//   lexname   definition -> one of 45 lexicographer files (noun.animal, verb.motion, …)
//   hypernym  two definitions -> is the second one the meaning right above the first?
//   lemma     definition and example -> which words of the example carry the defined meaning
import { lemmaTags, wordsOf } from './lemma-tags.mjs'
import { randomSource, shuffle } from './random.mjs'
import { lexnames } from './wordnet.mjs'

/** @typedef {import('./wordnet.mjs').Synset} Synset */
/** @typedef {import('./wordnet.mjs').Split} Split */
/** @typedef {{ text: string, textPair?: string, label: number }} Row */
/** @typedef {{ text: string, words: string[], tags: number[] }} TaggedRow words: the example's, tags: 1 = the lemma */
/** @typedef {{ kind: 'classification', name: string, title: string, labels: string[] } & Record<Split, Row[]>} RowTask */
/** @typedef {{ kind: 'tagging', name: string, title: string, labels: string[] } & Record<Split, TaggedRow[]>} TagTask */

/** The files are ordered by meaning: rows are shuffled once, so that any first part of them is a fair sample. */
const orderSeed = 20110621

/**
 * @template T
 * @param {{ split: Split | null, row: T }[]} entries
 * @returns {Record<Split, T[]>}
 */
function divide(entries) {
  const rows = (/** @type {Split} */ split) =>
    shuffle(
      entries.filter((entry) => entry.split === split).map((entry) => entry.row),
      randomSource(orderSeed)
    )
  return { train: rows('train'), dev: rows('dev'), test: rows('test') }
}

/** @param {Synset[]} synsets @returns {RowTask} */
export function lexnameTask(synsets) {
  const entries = synsets.map(({ split, definition, lexname }) => ({
    split,
    row: { text: definition, label: lexnames.indexOf(lexname) }
  }))
  return { kind: 'classification', name: 'lexname', title: 'definition → class', labels: lexnames, ...divide(entries) }
}

/**
 * Half of the pairs keep their hypernym, the others exchange theirs among themselves: each side alone has the same
 * distribution under both labels. The lower meaning decides on the split; train takes no upper one from dev or test.
 * @param {Synset[]} synsets
 * @returns {RowTask}
 */
export function hypernymTask(synsets) {
  const byId = new Map(synsets.map((synset) => [synset.id, synset]))
  const pairs = synsets.flatMap((lower) => {
    const upper = byId.get(lower.hypernyms[0] ?? '')
    if (upper === undefined || lower.split === null) return []
    return lower.split === 'train' && upper.split !== 'train' ? [] : [{ lower, upper }]
  })
  const entries = /** @type {Split[]} */ (['train', 'dev', 'test']).flatMap((split) => {
    const random = randomSource(orderSeed)
    const shuffled = shuffle(
      pairs.filter(({ lower }) => lower.split === split),
      random
    )
    const half = shuffled.length >> 1
    const wrong = exchange(shuffled.slice(half), random)
    const row = (/** @type {Synset} */ lower, /** @type {Synset} */ upper, /** @type {number} */ label) => ({
      split,
      row: { text: lower.definition, textPair: upper.definition, label }
    })
    return [
      ...shuffled.slice(0, half).map(({ lower, upper }) => row(lower, upper, 1)),
      ...wrong.map(({ lower, upper }) => row(lower, upper, 0))
    ]
  })
  const title = 'is B the meaning above A?'
  return { kind: 'classification', name: 'hypernym', title, labels: ['no', 'yes'], ...divide(entries) }
}

/** @param {{ lower: Synset, upper: Synset }[]} pairs @param {() => number} random */
function exchange(pairs, random) {
  const uppers = shuffle(
    pairs.map(({ upper }) => upper),
    random
  )
  return pairs.flatMap(({ lower }, i) => {
    // A draw that is true after all is passed on to a later pair; the last pairs may find none and are left out.
    for (let j = i; j < uppers.length; j++) {
      const upper = /** @type {Synset} */ (uppers[j])
      if (lower.hypernyms.includes(upper.id)) continue
      uppers[j] = /** @type {Synset} */ (uppers[i])
      return [{ lower, upper }]
    }
    return []
  })
}

/** @param {Synset[]} synsets @returns {TagTask} */
export function lemmaTask(synsets) {
  const entries = synsets.flatMap(({ split, definition, examples, lemmas }) =>
    examples.flatMap((example) => {
      const words = wordsOf(example)
      const tags = lemmaTags(words, lemmas)
      return words.length < 3 || tags === undefined ? [] : [{ split, row: { text: definition, words, tags } }]
    })
  )
  const title = 'which words of the example carry the definition'
  return { kind: 'tagging', name: 'lemma', title, labels: ['other', 'lemma'], ...divide(entries) }
}

/** What each part is for, and whether the test has rows of all classes. @param {RowTask | TagTask} task */
export function partsOf(task) {
  const { train, dev, test, labels } = task
  const tested = task.kind === 'tagging' ? labels.length : new Set(task.test.map(({ label }) => label)).size
  const lacks = tested < labels.length ? ` (of ${tested} of the ${labels.length} classes)` : ''
  return `${train.length} rows to train on, ${dev.length} for the curves, ${test.length} for the test${lacks}`
}

export const taskBuilders = { lexname: lexnameTask, hypernym: hypernymTask, lemma: lemmaTask }
