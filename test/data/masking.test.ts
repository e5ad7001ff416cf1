import test from 'ava'
import { maskTokens } from '../../lib/data/masking.js'

const specialIds = new Set([0, 1, 2, 3, 4])
const options = { maskId: 4, vocabSize: 1000, specialIds }
const length = 20_000
const row = {
  inputIds: Int32Array.from({ length }, (_, i) => (i % 100 === 0 ? 2 : 5 + (i % 900))),
  tokenTypeIds: new Int32Array(length),
  label: undefined
}

/** Of all tokens in twenty rows that may be chosen: how many are, and of these how many became the mask and stayed. */
function counts(chosen: { probability?: number } = {}) {
  const result = { all: 0, chosen: 0, masked: 0, same: 0 }
  for (let seed = 0; seed < 20; seed++) {
    const { inputIds, label } = maskTokens(row, { ...options, ...chosen }, seed, 2)
    row.inputIds.forEach((id, i) => {
      if (specialIds.has(id)) return
      result.all++
      if (label?.[i] === -100) return
      result.chosen++
      if (inputIds[i] === options.maskId) result.masked++
      else if (inputIds[i] === id) result.same++
    })
  }
  return result
}

test('15 % are to be guessed: 80 % mask, 10 % random, 10 % as they were', (t) => {
  // Within four standard deviations of a share of so many draws: 0.8 is told apart from 0.803.
  const isShare = (count: number, of: number, share: number) =>
    t.true(Math.abs(count / of - share) < 4 * Math.sqrt((share * (1 - share)) / of), `${count} of ${of}, not ${share}`)
  const few = counts()
  isShare(few.chosen, few.all, 0.15)
  const all = counts({ probability: 1 })
  t.is(all.chosen, 396_000)
  t.is(all.chosen, all.all)
  isShare(all.masked, all.chosen, 0.8)
  // A random word may be the one that was there.
  isShare(all.same, all.chosen, 0.1 + 0.1 / 995)
})

test('special tokens are never chosen and never drawn; all others stay', (t) => {
  const { inputIds, label } = maskTokens(row, { ...options, probability: 1 }, 5)
  row.inputIds.forEach((id, i) => {
    const isSpecial = specialIds.has(id)
    t.is(label?.[i], isSpecial ? -100 : id)
    if (isSpecial) t.is(inputIds[i], id)
    else t.true(inputIds[i] === 4 || !specialIds.has(inputIds[i] ?? 0))
  })
})

test('the same seeds give the same masks', (t) => {
  t.deepEqual(maskTokens(row, options, 1, 2), maskTokens(row, options, 1, 2))
  t.notDeepEqual(maskTokens(row, options, 1, 2), maskTokens(row, options, 1, 3))
  t.is(row.inputIds[0], 2)
})
