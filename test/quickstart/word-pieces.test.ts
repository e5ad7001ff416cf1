import { readFileSync } from 'node:fs'
import test from 'ava'
import { script } from '../setup/script.js'

interface WordPieces {
  countWords(lines: string[]): Map<string, number>
  learnPieces(words: Map<string, number>, first: string[], size: number): string[]
}

const { countWords, learnPieces } = await script<WordPieces>('pretrain/word-pieces.mjs')

const folder = new URL('../../../models/wordnet-bert-mini/', import.meta.url)
const read = (name: string) => readFileSync(new URL(name, folder), 'utf8')

test('words are lower case, punctuation stands alone', (t) => {
  t.deepEqual(
    [...countWords(['A cat; a CAT.', 'x-ray 3'])],
    [
      ['a', 2],
      ['cat', 2],
      [';', 1],
      ['.', 1],
      ['x', 1],
      ['-', 1],
      ['ray', 1],
      ['3', 1]
    ]
  )
})

// By hand: "es" and "st" occur 9 times, and e is the older piece; then est 9, lo 7, low 7; of ne, ew and w+est, 6 each,
// w is the oldest left piece.
test('the most frequent pair becomes a piece, again and again', (t) => {
  const words = new Map([
    ['low', 5],
    ['lower', 2],
    ['newest', 6],
    ['widest', 3]
  ])
  const alphabet = ['l', '##o', '##w', '##e', '##r', 'n', '##s', '##t', 'w', '##i', '##d']
  t.deepEqual(learnPieces(words, ['[UNK]'], 1 + alphabet.length + 5), [
    '[UNK]',
    ...alphabet,
    ...['##es', '##est', 'lo', 'low', '##west']
  ])
})

test('a text that is too small for the vocabulary is an error', (t) => {
  t.throws(() => learnPieces(new Map([['ab', 1]]), [], 10), { message: /3 pieces, not 10/ })
})

test('the committed encoder: its files agree', (t) => {
  const pieces = read('vocab.txt').trimEnd().split('\n')
  const tokenizer = JSON.parse(read('tokenizer.json')) as { model: { vocab: Record<string, number> } }
  const config = JSON.parse(read('config.json')) as Record<string, number>
  t.is(pieces.length, 8192)
  t.is(config['vocab_size'], 8192)
  t.deepEqual(
    pieces.map((piece) => tokenizer.model.vocab[piece]),
    pieces.map((_, id) => id)
  )
  t.regex(read('WORDNET-LICENSE.txt'), /WordNet 3\.1 Copyright 2011 by Princeton University/)
})
