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

test('15 % are to be guessed: 80 % mask, 10 % random, 10 % as they were', (t) => {
  const { inputIds, label } = maskTokens(row, options, 1, 2)
  const chosen = [...inputIds.keys()].filter((i) => label?.[i] !== -100)
  // Standard deviation 50.
  t.true(Math.abs(chosen.length - 0.15 * 19_800) < 200)
  const masked = chosen.filter((i) => inputIds[i] === 4).length
  const same = chosen.filter((i) => inputIds[i] === row.inputIds[i]).length
  t.true(Math.abs(masked / chosen.length - 0.8) < 0.03)
  t.true(Math.abs(same / chosen.length - 0.1) < 0.03)
  t.true(chosen.every((i) => label?.[i] === row.inputIds[i]))
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
