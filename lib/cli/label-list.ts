import { usageError } from './arguments.js'

/** Names of labels as --labels takes them: with commas between, or as JSON where a name holds one. */
export function labelsToText(names: readonly string[]): string {
  const isPlain = (name: string) => !name.includes(',') && name.trim() === name
  return names.every(isPlain) && !names[0]?.startsWith('[') ? names.join(',') : JSON.stringify(names)
}

export function labelsOfText(text: string): string[] {
  const json = text.trimStart().startsWith('[') ? jsonList(text) : undefined
  const names = json ?? text.split(',').map((name) => name.trim())
  if (!names.includes('')) return names
  throw usageError(`--labels: expected names with commas between, or a JSON list of them, got '${text}'`)
}

/** Undefined: names that begin with a bracket. */
function jsonList(text: string): string[] | undefined {
  try {
    const list: unknown = JSON.parse(text)
    return Array.isArray(list) && list.every((name) => typeof name === 'string') ? list : undefined
  } catch {
    return undefined
  }
}
