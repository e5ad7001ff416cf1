import { AdapterError } from '../native/errors.js'
import { camelCase, isSnakeCase } from './case.js'
import { checkKeys } from './check.js'
import { presetNames } from './presets.js'

/** What the adapter library has and this one does not: enough to tell a misspelling from a method that is missing. */
interface Method {
  readonly title: string
  readonly fields: readonly string[]
}

const promptTuning: Method = {
  title: 'prompt tuning',
  fields: ['prompt_length', 'prompt_init', 'prompt_init_text', 'random_uniform_scale', 'combine', 'init_weights_seed']
}

/** By preset name; the `architecture` values of saved configs are among them. No `fields`: any field is taken. */
const methods: Readonly<Record<string, Method | string>> = {
  prompt_tuning: promptTuning
}

export const unsupportedNames: readonly string[] = Object.freeze(Object.keys(methods))

export function isUnsupportedMethod(name: string): boolean {
  return Object.hasOwn(methods, name)
}

/** Checks the field names as far as the method's are known, then refuses the method by name. */
export function refuseMethod(name: string, values: Readonly<Record<string, unknown>>): never {
  const method = methods[name]
  if (typeof method === 'object') {
    // The first of two names that are as near is the one that is suggested.
    const spellings = [method.fields, method.fields.map(camelCase)]
    if (!isSnakeCase(Object.keys(values))) spellings.reverse()
    checkKeys(`adapter config '${name}'`, values, spellings.flat())
  }
  const title = typeof method === 'object' ? method.title : (method ?? name)
  throw new AdapterError(
    'ERR_UNSUPPORTED',
    'read the adapter config',
    `the method '${name}' (${title}) is not supported`,
    {
      expected: 'a bottleneck adapter, LoRA or one of its kin, prefix tuning, ReFT',
      hint: `These work: ${presetNames.join(', ')}.`
    }
  )
}
