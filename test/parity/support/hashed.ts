import type { Tensor } from './fixtures.js'

/**
 * Numbers in [-1, 1) that follow from a name alone, the same as those of scripts/fixtures/hashed.py: FNV-1a of the name, then
 * MurmurHash3's last step for each index.
 */
export function uniform(name: string, count: number): number[] {
  let seed = 0x811c9dc5
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 0x01000193)
  return Array.from({ length: count }, (_, i) => {
    let x = Math.imul(i, 0x9e3779b9) + seed
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
    return ((x ^ (x >>> 16)) >>> 0) / 2 ** 31 - 1
  })
}

/** The value of a parameter in the fixtures whose weights are in no file. */
export function hashedValue(name: string, shape: readonly number[]): Tensor {
  const columns = shape.at(-1) ?? 1
  const isBase = name.endsWith('parametrizations.weight.original')
  const value = (u: number, i: number): number => {
    if (isBase) return Math.floor(i / columns) === i % columns ? -1 : 0.8 * u
    if (name.endsWith('scaling') || name.endsWith('m.weight')) return 0.9 + 0.3 * u
    return shape.length === 1 ? 0.4 * u : (u * 1.4) / columns ** 0.5
  }
  const count = shape.reduce((product, n) => product * n, 1)
  return { data: Float32Array.from(uniform(name, count).map(value)), shape }
}
