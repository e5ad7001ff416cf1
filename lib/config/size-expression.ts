/** A size of a graph's shapes as a function of one other, as torch.export writes it: `Add(FloorDiv(s76, Integer(4)), s76)`. */
export type SizeExpression = (size: number) => number

/** What can be computed of `text`, in which `name` is the other size; null: something else is in it. */
export function sizeExpression(text: string, name: string): SizeExpression | null {
  if (text.length > longest) return null
  const reader = { tokens: text.match(/[A-Za-z_]\w*|-?\d+|[(),]|\S/g) ?? [], at: 0 }
  const expression = read(reader, name, 0)
  return expression !== null && reader.at === reader.tokens.length ? expression : null
}

const longest = 4096
const deepest = 64

type Reader = { readonly tokens: readonly string[]; at: number }
type Rule = (values: readonly number[]) => number

/** By SymPy's names. Sizes are whole numbers, and so is all that is made of them. */
const rules: Readonly<Record<string, Rule>> = {
  Integer: ([a = Number.NaN]) => a,
  Add: (values) => values.reduce((sum, value) => sum + value, 0),
  Mul: (values) => values.reduce((product, value) => product * value, 1),
  Max: (values) => Math.max(...values),
  Min: (values) => Math.min(...values),
  FloorDiv: ([a = Number.NaN, b = Number.NaN]) => Math.floor(a / b),
  CleanDiv: ([a = Number.NaN, b = Number.NaN]) => Math.floor(a / b),
  CeilDiv: ([a = Number.NaN, b = Number.NaN]) => Math.ceil(a / b),
  Mod: ([a = Number.NaN, b = Number.NaN]) => a - b * Math.floor(a / b),
  PythonMod: ([a = Number.NaN, b = Number.NaN]) => a - b * Math.floor(a / b),
  Pow: ([a = Number.NaN, b = Number.NaN]) => a ** b
}

function read(reader: Reader, name: string, depth: number): SizeExpression | null {
  const token = reader.tokens[reader.at++]
  if (token === undefined || depth > deepest) return null
  if (token === name) return (size) => size
  if (/^-?\d+$/.test(token)) return () => Number(token)
  const rule = Object.hasOwn(rules, token) ? rules[token] : undefined
  if (rule === undefined || reader.tokens[reader.at++] !== '(') return null
  const parts: SizeExpression[] = []
  for (;;) {
    const part = read(reader, name, depth + 1)
    if (part === null) return null
    parts.push(part)
    const next = reader.tokens[reader.at++]
    if (next === ')') return (size) => rule(parts.map((one) => one(size)))
    if (next !== ',') return null
  }
}
