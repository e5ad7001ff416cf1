// Seeded chance, the same on every machine.
import { hash32 } from './wordnet.mjs'

/**
 * Mulberry32: a counter and a mix, 32 bits of state.
 * @param {number} seed
 * @returns {() => number} uniform in [0, 1)
 */
export function randomSource(seed) {
  let state = hash32(`seed ${seed}`)
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x100000000
  }
}

/**
 * Fisher-Yates, in place.
 * @template {{ length: number, [index: number]: any }} T
 * @param {T} list
 * @param {() => number} random
 * @returns {T}
 */
export function shuffle(list, random) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const kept = list[i]
    list[i] = list[j]
    list[j] = kept
  }
  return list
}
