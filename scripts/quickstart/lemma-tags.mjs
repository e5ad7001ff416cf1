// Finds the words of an example sentence that are a lemma, also bent by the regular endings of English.

/** @param {string} text @returns {string[]} words with inner hyphens and apostrophes, and single punctuation marks */
export const wordsOf = (text) => text.match(/[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*|[^\sA-Za-z0-9]/g) ?? []

/** @param {string} word lower case @returns {Set<string>} the word and its regular forms */
function formsOf(word) {
  const endings = ['ed', 'ing', 'er', 'est']
  const forms = [word, `${word}'s`, `${word}s`, `${word}es`, `${word}d`, ...endings.map((ending) => word + ending)]
  const stem = word.slice(0, -1)
  if (word.endsWith('e')) forms.push(...endings.map((ending) => stem + ending))
  if (word.endsWith('y')) forms.push(...['ies', 'ied', 'ier', 'iest'].map((ending) => stem + ending))
  if (/[^aeiou][aeiou][b-df-hj-np-tvz]$/.test(word)) forms.push(...endings.map((end) => word + word.at(-1) + end))
  return new Set(forms)
}

/**
 * @param {string[]} words of the example
 * @param {string[]} lemmas each of one word or several
 * @returns {number[] | undefined} 1 for each word of the first lemma found, undefined when there is none
 */
export function lemmaTags(words, lemmas) {
  const lower = words.map((word) => word.toLowerCase())
  for (const lemma of lemmas) {
    const parts = wordsOf(lemma.toLowerCase()).map(formsOf)
    for (let at = 0; at + parts.length <= lower.length; at++) {
      if (!parts.every((forms, i) => forms.has(lower[at + i] ?? ''))) continue
      return words.map((_, i) => (i >= at && i < at + parts.length ? 1 : 0))
    }
  }
  return undefined
}
