import test from 'ava'
import { script } from '../setup/script.js'
import type { Synset, Tasks, Wordnet } from './types.js'

const wordnet = await script<Wordnet>('quickstart/wordnet.mjs')
const { taskBuilders } = await script<Tasks>('quickstart/tasks.mjs')
const synsets = wordnet.readWordnet()

const ofSplit = (split: Synset['split']): Synset[] => synsets.filter((synset) => synset.split === split)

function share<T>(list: readonly T[], predicate: (item: T) => boolean): number {
  return list.filter(predicate).length / list.length
}

// The counts were first found with another parser (Python) on the same package.
test('WordNet 3.1 is read whole', (t) => {
  t.is(synsets.length, 117_791)
  const byPos = Object.fromEntries(
    ['n', 'v', 'a', 'r'].map((pos) => [pos, synsets.filter((s) => s.pos === pos).length])
  )
  t.deepEqual(byPos, { n: 82_192, v: 13_789, a: 18_185, r: 3_625 })
  t.is(new Set(synsets.flatMap(({ lemmas }) => lemmas.map((lemma) => lemma.toLowerCase()))).size, 147_478)
  t.is(
    synsets.reduce((sum, { examples }) => sum + examples.length, 0),
    48_541
  )
  t.is(new Set(synsets.map(({ lexname }) => lexname)).size, 45)
})

test('every hypernym is a synset', (t) => {
  const ids = new Set(synsets.map(({ id }) => id))
  t.is(ids.size, synsets.length)
  t.deepEqual(
    synsets.flatMap(({ hypernyms }) => hypernyms).filter((id) => !ids.has(id)),
    []
  )
})

test('a synset has its parts', (t) => {
  t.like(synsets[5], {
    id: 'n00003553',
    lexname: 'noun.Tops',
    definition: 'an assemblage of parts that is regarded as a single entity',
    examples: ['how big is that part compared to the whole?', 'the team is a unit'],
    lemmas: ['whole', 'unit'],
    hypernyms: ['n00002684'],
    split: 'train'
  })
})

test('a gloss is a definition, then examples in quotes', (t) => {
  t.deepEqual(wordnet.splitGloss('set up for use; "install the washer"; "We put in a new sink"'), {
    definition: 'set up for use',
    examples: ['install the washer', 'We put in a new sink']
  })
  t.deepEqual(wordnet.splitGloss('the "upper" part; of a thing'), {
    definition: 'the "upper" part; of a thing',
    examples: []
  })
})

// MurmurHash3's finalizer over FNV-1a ("a" is 0xe40c292c there), worked out by hand.
test('the hash is FNV-1a with a last stir', (t) => {
  let hash = 0xe40c292cn
  const mask = 0xffffffffn
  hash = ((hash ^ (hash >> 16n)) * 0x85ebca6bn) & mask
  hash = ((hash ^ (hash >> 13n)) * 0xc2b2ae35n) & mask
  t.is(BigInt(wordnet.hash32('a')), hash ^ (hash >> 16n))
})

test('the split has the known sizes', (t) => {
  t.deepEqual([ofSplit('train').length, ofSplit('dev').length, ofSplit('test').length], [94_206, 11_620, 11_704])
})

test('no definition of dev or test stands in an earlier split', (t) => {
  const texts = (split: Synset['split']) => new Set(ofSplit(split).map((s) => wordnet.normalized(s.definition)))
  const [train, dev, testing] = [texts('train'), texts('dev'), texts('test')]
  t.deepEqual(
    [...dev].filter((text) => train.has(text)),
    []
  )
  t.deepEqual(
    [...testing].filter((text) => train.has(text) || dev.has(text)),
    []
  )
})

test('lexname: a row for each definition, in mixed order', (t) => {
  const task = taskBuilders.lexname(synsets)
  t.deepEqual([task.train.length, task.dev.length, task.test.length], [94_206, 11_620, 11_704])
  t.is(task.labels.length, 45)
  const label = task.labels.indexOf('adj.all')
  const parts = [task.test, task.train.slice(0, 5000), task.train.slice(-5000)]
  for (const rows of parts) t.true(Math.abs(share(rows, (row) => row.label === label) - 0.123) < 0.015)
})

test('hypernym: neither side alone tells the label', (t) => {
  const task = taskBuilders.hypernym(synsets)
  t.true(task.train.length > 56_000 && task.test.length > 8_700)
  t.true(Math.abs(share(task.test, (row) => row.label === 1) - 0.5) < 0.001)
  const uppers = (label: number) =>
    task.train.filter((row) => row.label === label && row.textPair === 'a human being').length
  t.true(uppers(1) > 20)
  t.true(Math.abs(uppers(1) / uppers(0) - 1) < 0.5)
})

test('hypernym: no definition of train is one of dev or test', (t) => {
  const task = taskBuilders.hypernym(synsets)
  const later = new Set([...ofSplit('dev'), ...ofSplit('test')].map((s) => wordnet.normalized(s.definition)))
  const leaked = task.train.flatMap(({ text, textPair = '' }) => [text, textPair])
  t.deepEqual(
    leaked.filter((text) => later.has(wordnet.normalized(text))),
    []
  )
})

test('lemma: tags stand on the word that is defined, bent or not', (t) => {
  const task = taskBuilders.lemma(synsets)
  t.true(task.train.length > 32_000 && task.test.length > 4_000)
  t.true(task.train.every(({ words, tags }) => words.length === tags.length && tags.includes(1)))
  const install = [...task.train, ...task.dev, ...task.test].find(
    ({ words }) => words[0] === 'install' && words.includes('washer')
  )
  t.deepEqual(install, {
    text: 'set up for use',
    words: ['install', 'the', 'washer', 'and', 'dryer'],
    tags: [1, 0, 0, 0, 0]
  })
  const bent = task.train.find(({ words, tags }) => words.some((word, i) => tags[i] === 1 && /ied$/.test(word)))
  t.truthy(bent)
})
