import { checkArray, checkInteger, valueError } from '../config/check.js'

/** Where a generator stands: four unsigned 32-bit words. */
export type RandomState = readonly [number, number, number, number]

/**
 * xoshiro128** (Blackman and Vigna, https://prng.di.unimi.it). Integer operations only, so that the same seed gives the
 * same bits on every machine and in every Node version.
 */
export class Random {
  // Signed: integers that stay in a register.
  #a: number
  #b: number
  #c: number
  #d: number

  private constructor(state: RandomState) {
    const [a, b, c, d] = state
    this.#a = a | 0
    this.#b = b | 0
    this.#c = c | 0
    this.#d = d | 0
  }

  /** Several seeds make one stream: `fromSeed(seed, epoch)` is another stream for each epoch. */
  static fromSeed(...seeds: readonly number[]): Random {
    let mixed = 0
    for (const [i, seed] of seeds.entries()) {
      checkInteger(`seed[${i}]`, seed, 0)
      mixed = mix(mixed ^ mix(seed >>> 0) ^ Math.imul(mix(Math.floor(seed / 2 ** 32)), 31))
      mixed = (mixed + 0x9e3779b9) >>> 0
    }
    const next = () => {
      mixed = (mixed + 0x9e3779b9) >>> 0
      return mix(mixed)
    }
    return new Random([next(), next(), next(), next() | 1])
  }

  static fromState(state: RandomState): Random {
    const words = checkArray('random state', state).map((word, i) =>
      checkInteger(`random state[${i}]`, word, 0, 2 ** 32 - 1)
    )
    // From all zeros the generator would give nothing but zeros.
    if (words.length !== 4 || words.every((word) => word === 0)) {
      throw valueError('random state', 'expected four 32-bit words that are not all 0')
    }
    return new Random(words as unknown as RandomState)
  }

  get state(): RandomState {
    return [this.#a >>> 0, this.#b >>> 0, this.#c >>> 0, this.#d >>> 0]
  }

  /** 32 random bits. */
  nextUint32(): number {
    const result = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9)
    const shifted = this.#b << 9
    this.#c ^= this.#a
    this.#d ^= this.#b
    this.#b ^= this.#c
    this.#a ^= this.#d
    this.#c ^= shifted
    this.#d = rotate(this.#d, 11)
    return result >>> 0
  }

  /** Evenly from 0 to `limit` - 1: numbers that would favour the small ones are drawn again. */
  nextBelow(limit: number): number {
    for (;;) {
      const value = this.nextUint32()
      // Those below 2³² mod limit, which is below limit.
      if (value >= limit || value >= 2 ** 32 % limit) return value % limit
    }
  }

  /** Evenly in [0, 1), 32 bits fine. */
  nextFloat(): number {
    return this.nextUint32() / 2 ** 32
  }

  /** Fisher and Yates, in place, from the last item on: as far as `to`, where the next call goes on from there. */
  shuffle(items: Uint32Array, from = items.length - 1, to = 0): Uint32Array {
    for (let i = from; i > to; i--) {
      const j = this.nextBelow(i + 1)
      const held = items[i] ?? 0
      items[i] = items[j] ?? 0
      items[j] = held
    }
    return items
  }
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by))
}

/** MurmurHash3's finalizer: near seeds give streams that have nothing in common. */
function mix(word: number): number {
  let mixed = word >>> 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
