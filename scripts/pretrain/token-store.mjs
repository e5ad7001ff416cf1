// The pretraining rows as token ids, tokenized once and kept in one file of 32-bit integers:
//
//   [ magic, train rows, dev rows, segments, ids ]
//   [ rows + dev rows ] × [ first segment, second segment or -1, name segment or -1 ]
//   [ segments + 1 ] × where each segment's ids begin
//   ids, without special tokens
//
// A segment is one text; a definition that stands in several rows is stored once.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Tokenizer } from '@huggingface/tokenizers'
import { pretrainingRows } from './corpus.mjs'

/** @typedef {{ ids: Int32Array, secondAt: number, name: Int32Array }} Row secondAt: where token type 1 begins */

const magic = 0x54415031
const headerLength = 5

/** Ids that the vocabulary begins with. */
export const special = { pad: 0, unknown: 1, cls: 2, sep: 3, mask: 4, count: 5 }

export class TokenStore {
  #rows
  #starts
  #ids

  /** @param {Int32Array} file */
  constructor(file) {
    const [, train = 0, dev = 0, segments = 0] = file
    this.train = train
    this.dev = dev
    const startsAt = headerLength + 3 * (train + dev)
    this.#rows = file.subarray(headerLength, startsAt)
    this.#starts = file.subarray(startsAt, startsAt + segments + 1)
    this.#ids = file.subarray(startsAt + segments + 1)
  }

  /** @param {number} row train rows come first, dev rows after them @returns {number} its length, special tokens too */
  lengthOf(row) {
    const second = this.#segment(row, 1).length
    return this.#segment(row, 0).length + 2 + (second === 0 ? 0 : second + 1)
  }

  /** @param {number} row @returns {Row} */
  row(row) {
    const [first, second] = [this.#segment(row, 0), this.#segment(row, 1)]
    const ids = new Int32Array(this.lengthOf(row)).fill(special.sep)
    ids[0] = special.cls
    ids.set(first, 1)
    ids.set(second, Math.min(first.length + 2, ids.length))
    return { ids, secondAt: first.length + 2, name: this.#segment(row, 2) }
  }

  /** @param {number} row @param {0 | 1 | 2} place */
  #segment(row, place) {
    const segment = this.#rows[3 * row + place] ?? -1
    if (segment < 0) return new Int32Array()
    return this.#ids.subarray(this.#starts[segment], this.#starts[segment + 1])
  }
}

/**
 * @param {import('./corpus.mjs').PretrainingRow[]} train
 * @param {import('./corpus.mjs').PretrainingRow[]} dev
 * @param {(text: string) => number[]} encode without special tokens
 * @returns {Int32Array} the file's content
 */
export function packRows(train, dev, encode) {
  const segments = new Map()
  const starts = [0]
  /** @type {number[]} */
  const ids = []
  const segmentOf = (/** @type {string | undefined} */ text) => {
    if (text === undefined) return -1
    let segment = segments.get(text)
    if (segment === undefined) {
      segment = segments.size
      segments.set(text, segment)
      for (const id of encode(text)) ids.push(id)
      starts.push(ids.length)
    }
    return segment
  }
  const rows = [...train, ...dev].flatMap(({ text, textPair, name }) => [text, textPair, name].map(segmentOf))
  const file = new Int32Array(headerLength + rows.length + starts.length + ids.length)
  file.set([magic, train.length, dev.length, segments.size, ids.length])
  file.set(rows, headerLength)
  file.set(starts, headerLength + rows.length)
  file.set(ids, headerLength + rows.length + starts.length)
  return file
}

/**
 * Reads the cache, or writes it first.
 * @param {{ modelFolder: string, cacheFolder: string, synsets: () => import('./corpus.mjs').Synset[] }} places
 * @returns {TokenStore}
 */
export function openTokenStore({ modelFolder, cacheFolder, synsets }) {
  const tokenizerText = readFileSync(join(modelFolder, 'tokenizer.json'))
  const recipe = readFileSync(new URL('corpus.mjs', import.meta.url))
  const version = createHash('sha256').update(tokenizerText).update(recipe).digest('hex').slice(0, 12)
  const path = join(cacheFolder, `rows-${version}.i32`)
  if (!existsSync(path)) {
    const tokenizer = new Tokenizer(JSON.parse(tokenizerText.toString()), {})
    const all = synsets()
    const encode = (/** @type {string} */ text) => tokenizer.encode(text, { add_special_tokens: false }).ids
    const file = packRows([...pretrainingRows(all, 'train')], devRows(all), encode)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(`${path}.part`, file)
    renameSync(`${path}.part`, path)
  }
  const bytes = readFileSync(path)
  const file = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  if (file[0] !== magic) throw new Error(`Reading ${path}: not a file of pretraining rows. Delete it and start again.`)
  return new TokenStore(file)
}

/** The loss is watched on plain definitions, a fixed tenth of dev. @param {import('./corpus.mjs').Synset[]} synsets */
function devRows(synsets) {
  const definitions = synsets.filter(({ split }) => split === 'dev').map(({ definition }) => ({ text: definition }))
  return definitions.filter((_, i) => i % 10 === 0)
}
