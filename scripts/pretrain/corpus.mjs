// The text that the encoder learns from: the train split of WordNet and nothing else, so that no definition of dev or
// test has been seen before an adapter is measured on it.

/** @typedef {import('../quickstart/wordnet.mjs').Synset} Synset */

/**
 * What the vocabulary is learned from: definitions, examples and lemmas, each once.
 * @param {Synset[]} synsets
 * @returns {Generator<string>}
 */
export function* vocabularyLines(synsets) {
  for (const { split, definition, examples, lemmas } of synsets) {
    if (split === 'train') yield* [definition, ...examples, ...lemmas]
  }
}

/**
 * @typedef {object} PretrainingRow
 * @property {string} text
 * @property {string} [textPair]
 * @property {string} [name] the words that the text defines
 */

/**
 * What the encoder reads, three ways for each synset:
 *
 *   definition                  its name is what [CLS] has to find
 *   lemma, lemma | definition   names and definitions explain each other
 *   definition | example        a word in use, once for each example
 *
 * @param {Synset[]} synsets
 * @param {import('../quickstart/wordnet.mjs').Split} split
 * @returns {Generator<PretrainingRow>}
 */
export function* pretrainingRows(synsets, split) {
  for (const synset of synsets) {
    if (synset.split !== split) continue
    const { definition, examples, lemmas } = synset
    yield { text: definition, name: lemmas.join(' ') }
    yield { text: lemmas.join(', '), textPair: definition }
    for (const example of examples) yield { text: definition, textPair: example }
  }
}
