import * as check from './check.js'

/** A kind of file about a run: its events a line each, the page of its curves, or TensorBoard's. */
export type ReportTarget = (typeof targets)[number]

const targets = ['jsonl', 'html', 'tensorboard'] as const

/** What `reportTo` takes: one target, several, or as Hugging Face has it 'all' and 'none', which null is, too. */
export type ReportTo = ReportTarget | 'all' | 'none' | readonly ReportTarget[] | null

const spellings = [...targets, 'all', 'none'] as const

/** The targets, each once. */
export function reportTo(name: string, value: unknown): readonly ReportTarget[] {
  if (value === null) return Object.freeze([])
  if (Array.isArray(value)) {
    const list = value.map((one, i) => check.checkOneOf(`${name}[${i}]`, one, targets))
    return Object.freeze([...new Set(list)])
  }
  if (typeof value !== 'string') {
    const schema = { anyOf: [{ enum: spellings }, { type: 'array', items: { enum: targets } }] }
    throw check.typeError(name, `one of ${check.quoted(spellings)}, or a list`, value, schema)
  }
  const word = check.checkOneOf(name, value, spellings)
  return Object.freeze(word === 'all' ? [...targets] : word === 'none' ? [] : [word])
}
