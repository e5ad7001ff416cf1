// The user's own rows as a task: one JSON object a line, {"text": …, "textPair": … (may be missing), "label": …}.
import { readFileSync } from 'node:fs'
import { Problem } from '../lib/terminal.mjs'
import { randomSource, shuffle } from './random.mjs'
import { hash32 } from './wordnet.mjs'

/** @typedef {import('./tasks.mjs').RowTask} RowTask */

/** @param {string} path @param {string} why @returns {never} */
function refuse(path, why) {
  throw new Problem(
    `Reading ${path}: ${why}. Expected one JSON object a line, as in {"text": "works at once", "label": "good"}.`
  )
}

/** @param {string} path @param {string} line @param {number} number */
function parseLine(path, line, number) {
  let row
  try {
    row = JSON.parse(line)
  } catch {
    return refuse(path, `line ${number} is not JSON (\`npx torch-adapters train\` takes CSV and lists of labels, too)`)
  }
  const { text, textPair = row?.text_pair, label } = row ?? {}
  if (typeof text !== 'string') refuse(path, `line ${number} has no "text"`)
  if (textPair !== undefined && typeof textPair !== 'string') refuse(path, `line ${number}: "textPair" is not a text`)
  if (!['string', 'number', 'boolean'].includes(typeof label)) {
    refuse(path, `line ${number} has no "label" that is one text, number, true or false`)
  }
  if (typeof label === 'number' && !Number.isInteger(label)) {
    throw new Problem(
      `Reading ${path}: line ${number} has ${label} as its label: a value, and the quickstart learns classes. ` +
        `Values are learned by \`npx torch-adapters train --head regression --train ${path}\`; classes need names or whole numbers.`
    )
  }
  return { text, ...(textPair === undefined ? {} : { textPair }), label: String(label) }
}

/**
 * Eight tenths train, one dev, one test, by a hash of the text: the same text never stands on two sides, and stays on its
 * side when rows are added. Where that leaves a side empty, the texts with the largest hashes are dev and test.
 * @template {{ text: string }} T
 * @param {T[]} rows
 * @returns {{ train: T[], dev: T[], test: T[] } | undefined} nothing where there are fewer texts than sides
 */
function split(rows) {
  const part = (/** @type {(text: string) => boolean} */ inside) => rows.filter(({ text }) => inside(text))
  const tenth = (/** @type {string} */ text) => Math.floor((hash32(text) % 100) / 10)
  const parts = {
    train: part((text) => tenth(text) < 8),
    dev: part((text) => tenth(text) === 8),
    test: part((text) => tenth(text) === 9)
  }
  if (Object.values(parts).every((some) => some.length > 0)) return parts
  const texts = [...new Set(rows.map(({ text }) => text))].sort((a, b) => hash32(a) - hash32(b) || (a < b ? -1 : 1))
  if (texts.length < 3) return undefined
  const tail = Math.max(1, Math.round(texts.length / 10))
  const [dev, test] = [new Set(texts.slice(-2 * tail, -tail)), new Set(texts.slice(-tail))]
  return {
    train: part((text) => !dev.has(text) && !test.has(text)),
    dev: part((text) => dev.has(text)),
    test: part((text) => test.has(text))
  }
}

/**
 * @param {string} path
 * @returns {RowTask}
 */
export function userTask(path) {
  let content = ''
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path))
  } catch (error) {
    if (error instanceof TypeError) refuse(path, 'it is no UTF-8 (iconv -f LATIN1 -t UTF-8 makes it such)')
    refuse(path, /** @type {Error} */ (error).message)
  }
  const lines = content.split('\n').map((line, i) => ({ line: line.trim(), number: i + 1 }))
  const parsed = lines.filter(({ line }) => line !== '').map(({ line, number }) => parseLine(path, line, number))
  const labels = [...new Set(parsed.map(({ label }) => label))].sort()
  if (labels.every((label) => Number.isFinite(Number(label)))) labels.sort((a, b) => Number(a) - Number(b))
  if (parsed.length === 0) refuse(path, 'it has no rows')
  if (labels.length === 1) {
    const rows = parsed.length === 1 ? 'its one row has' : `all ${parsed.length} rows have`
    throw new Problem(
      `Reading ${path}: ${rows} the label '${labels[0]}'. With one class there is nothing to learn: add rows of another.`
    )
  }
  const ids = new Map(labels.map((label, id) => [label, id]))
  const rows = shuffle(
    parsed.map((row) => ({ ...row, label: /** @type {number} */ (ids.get(row.label)) })),
    randomSource(1)
  )
  const parts =
    split(rows) ?? refuse(path, `${new Set(rows.map(({ text }) => text)).size} different texts; 3 at least are needed`)
  return { kind: 'classification', name: 'data', title: path, labels, ...parts }
}
