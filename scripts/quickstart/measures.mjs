// How good answers are.

/** @typedef {{ accuracy: number, macroF1: number }} Measures */

/**
 * Accuracy, and F1 of each label that occurs, averaged: a small label counts as much as a large one.
 * @param {ArrayLike<number>} answers
 * @param {ArrayLike<number>} truth
 * @param {number} labels
 * @returns {Measures}
 */
export function measure(answers, truth, labels) {
  const right = new Array(labels).fill(0)
  const answered = new Array(labels).fill(0)
  const there = new Array(labels).fill(0)
  for (let i = 0; i < truth.length; i++) {
    const [answer, label] = [Number(answers[i]), Number(truth[i])]
    answered[answer]++
    there[label]++
    if (answer === label) right[label]++
  }
  const occurring = right.flatMap((hits, label) =>
    there[label] + answered[label] === 0 ? [] : (2 * hits) / (there[label] + answered[label])
  )
  const sum = (/** @type {number[]} */ list) => list.reduce((total, value) => total + value, 0)
  return { accuracy: sum(right) / truth.length, macroF1: sum(occurring) / occurring.length }
}

/**
 * Tagging: a row is right when every one of its tags is; F1 of the tag 1 over all words.
 * @param {number[][]} answers
 * @param {number[][]} truth
 * @returns {Measures} accuracy: the share of rows that are right; macroF1: F1 of the tag
 */
export function measureTags(answers, truth) {
  let exact = 0
  let hits = 0
  let marked = 0
  truth.forEach((tags, row) => {
    const given = answers[row] ?? []
    if (tags.every((tag, i) => tag === given[i])) exact++
    tags.forEach((tag, i) => {
      hits += tag === 1 && given[i] === 1 ? 1 : 0
      marked += tag + (given[i] ?? 0)
    })
  })
  return { accuracy: exact / truth.length, macroF1: (2 * hits) / marked }
}

/** @param {ArrayLike<number>} labels @param {number} count */
export function majority(labels, count) {
  const times = new Array(count).fill(0)
  for (const label of Array.from(labels)) times[label]++
  return times.indexOf(Math.max(...times))
}
