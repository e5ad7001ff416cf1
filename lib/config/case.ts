/** The same word on both sides of a file: `reductionFactor` in TypeScript is `reduction_factor` in JSON. */

export function camelCase(word: string): string {
  return word.replace(/_+([a-zA-Z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

export function snakeCase(word: string): string {
  return word.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
