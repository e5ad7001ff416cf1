/** The same word on both sides of a file: `reductionFactor` in TypeScript is `reduction_factor` in JSON. */

export function camelCase(word: string): string {
  // Most are one word, and columns are asked for with every row.
  if (!word.includes('_')) return word
  return word.replace(/_+([a-zA-Z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** Whether these names are written in snake_case, as files have them; where nothing tells, they are not. */
export const isSnakeCase = (names: readonly string[]): boolean =>
  names.some((name) => /[a-zA-Z0-9]_[a-zA-Z0-9]/.test(name))

export function snakeCase(word: string): string {
  return word.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** `mhAdapter` as `mh_adapter`, for the compiler. */
export type SnakeCase<K extends string> = K extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${SnakeCase<Rest>}`
  : K
