import type { Random } from '../../lib/data/random.js'

/** A damaged copy: bytes changed, cut out, doubled or exchanged for words that parsers stumble over. */
export function mutate(text: string, random: Random): string {
  let result = text
  const rounds = 1 + random.nextBelow(4)
  for (let i = 0; i < rounds; i++) result = mutateOnce(result, random)
  return result
}

const awkward = [
  '-1',
  '1e308',
  '1e999',
  '99999999999999999999',
  'null',
  '[]',
  '{}',
  '"',
  '\\u0000',
  '[[[[',
  '{"":',
  'true',
  '""',
  '__proto__',
  '\ud800',
  '0.5'
]

function mutateOnce(text: string, random: Random): string {
  const at = random.nextBelow(text.length + 1)
  const length = random.nextBelow(20)
  switch (random.nextBelow(6)) {
    case 0:
      return text.slice(0, at)
    case 1:
      return text.slice(0, at) + text.slice(at + length)
    case 2:
      return text.slice(0, at) + text.slice(at, at + length).repeat(1 + random.nextBelow(50)) + text.slice(at + length)
    case 3:
      return text.slice(0, at) + String.fromCharCode(random.nextBelow(65536)) + text.slice(at + 1)
    case 4:
      return replaceValue(text, random)
    default:
      return text.slice(0, at) + (awkward[random.nextBelow(awkward.length)] ?? '') + text.slice(at + length)
  }
}

/** Keeps the JSON whole and puts another value in: what gets past the parser and reaches the checks. */
function replaceValue(text: string, random: Random): string {
  const values = [...text.matchAll(/(?<=[:[,]\s*)("[^"]*"|-?[\d.eE+-]+|true|false|null)/g)]
  const match = values[random.nextBelow(Math.max(1, values.length))]
  if (match === undefined) return text
  const value =
    random.nextBelow(2) === 0 ? awkward[random.nextBelow(awkward.length)] : values[random.nextBelow(values.length)]?.[0]
  return text.slice(0, match.index) + (value ?? 'null') + text.slice(match.index + match[0].length)
}
