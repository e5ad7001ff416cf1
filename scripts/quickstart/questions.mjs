// Five rows answered at the end, so that one sees what was learned.
import { tagWords } from './contenders.mjs'
import { encodeRow, encodeTagged, readerOf } from './encode.mjs'

/** @typedef {import('../../dist/lib/index.js').Model} Model */
/** @typedef {import('./tasks.mjs').RowTask} RowTask */
/** @typedef {import('./tasks.mjs').TagTask} TagTask */

/** Definitions that stand in no dictionary. */
const ownDefinitions = [
  'a large striped cat that hunts alone at night',
  'a machine that makes coffee at the press of a button',
  'someone who repairs old bicycles for a living',
  'walk slowly and without a plan',
  'in a way that nobody expected'
]

/**
 * The first five that differ in what is read.
 * @template {{ text: string, textPair?: string, words?: string[] }} T
 * @param {T[]} rows
 */
export function different(rows) {
  const byText = new Map(rows.map((row) => [JSON.stringify([row.text, row.textPair, row.words]), row]))
  return [...byText.values()].slice(0, 5)
}

/**
 * @param {Model} model with the adapter
 * @param {RowTask | TagTask} task
 * @returns {Promise<string[]>} a line or two for each
 */
export async function answersOf(model, task) {
  const reader = readerOf(model)
  if (task.kind === 'tagging') {
    const rows = different(task.test)
    const tags = await tagWords(
      model,
      rows.map((row) => encodeTagged(reader, row))
    )
    return rows.flatMap(({ text, words }, row) => [
      `  ${text}`,
      `    → ${words.map((word, i) => (tags[row]?.[i] === 1 ? `[${word}]` : word)).join(' ')}`
    ])
  }
  const own = ownDefinitions.map((text) => ({ text, label: 0 }))
  /** @type {import('./tasks.mjs').Row[]} */
  const rows = task.name === 'lexname' ? own : different(task.test)
  const answers = await model.predict(rows.map((row) => encodeRow(reader, row, task.labels)))
  return rows.map(({ text, textPair }, i) => {
    const { label, score = 0 } = answers[i] ?? {}
    return `  ${text}${textPair === undefined ? '' : ` ~ ${textPair}`}\n    → ${label} (${score.toFixed(2)})`
  })
}
