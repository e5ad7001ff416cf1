import { valueError } from './check.js'
import { didYouMean } from './nearest.js'

/** PEFT's own names, which no config here has, and what says the same. */
const ofPeft: Readonly<Record<string, string>> = {
  lora_alpha: 'alpha',
  lora_dropout: 'dropout',
  target_modules: "targetModules, or attnMatrices: ['q', 'v'] with intermediateLora and outputLora",
  task_type: 'a head: model.addClassificationHead(…)',
  num_virtual_tokens: 'prefixLength or promptLength'
}

/** What such a config is here. */
export const peftHere = "Here it is { architecture: 'lora', r: 8, alpha: 16, attnMatrices: ['q', 'v'] }"

interface Fields {
  has(name: string): boolean
}

/** Fields of PEFT's or of another method: says what to write instead of an unknown field. */
export function checkSpelling(given: object, architecture: unknown, methods: Readonly<Record<string, Fields>>): void {
  const keys = Object.keys(given)
  const known = methods[typeof architecture === 'string' ? architecture : 'bottleneck']
  const unknown = keys.filter((key) => known?.has(key) === false)
  if (unknown.includes('rank')) throw valueError('adapter config', "'rank' is called 'r' here")
  const peft = unknown.filter((key) => Object.hasOwn(ofPeft, snake(key)))
  if (peft.length > 0) {
    const isBottleneck = architecture === null || architecture === 'bottleneck'
    if (isBottleneck && peft.every((key) => snake(key) === 'target_modules')) refuseBottleneckModules()
    const instead = peft.map((key) => `${key} is ${ofPeft[snake(key)]}`).join(', ')
    throw valueError('adapter config', `these are fields of PEFT's config: ${instead}. ${peftHere}`)
  }
  if (architecture !== null) return
  const other = Object.keys(methods).find((name) => unknown.length > 0 && keys.every((key) => methods[name]?.has(key)))
  if (other === undefined) return
  const message = `${unknown.join(', ')}: no field of a bottleneck, which a config without architecture is`
  throw valueError(
    'adapter config',
    `${message}; write architecture: '${other}' beside ${keys.length > 1 ? 'them' : 'it'}`
  )
}

/** A bottleneck's modules are what surgery takes by pattern. */
function refuseBottleneckModules(): never {
  const lora = "LoRA takes targetModules: write architecture: 'lora' beside it"
  const surgery = "addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output.dense', adapterSize: 8 })"
  throw valueError(
    'adapter config',
    `a bottleneck takes no targetModules. ${lora}. For bottlenecks at modules: ${surgery}`
  )
}

/** Kinds of LoRA that have a preset, and the fields that make them. */
const kinds: Readonly<Record<string, string>> = {
  dora: 'useDora: true',
  vera: "veraD: 0.1, veraB: 0, initWeights: 'vera'",
  dvora: "veraD: 0.1, veraB: 0, initWeights: 'vera', useDora: true",
  ia3: "compositionMode: 'scale', r: 1, initWeights: 'ia3'"
}

/** What to write instead, as the rest of a sentence. */
export function unknownArchitecture(
  architecture: unknown,
  known: readonly string[],
  presets: readonly string[]
): string {
  const own = typeof architecture === 'string' ? architecture.toLowerCase() : ''
  const kind = Object.hasOwn(kinds, own) ? kinds[own] : undefined
  if (kind !== undefined) return ` Write { architecture: 'lora', ${kind} }, or the preset '${own}'.`
  if (presets.includes(own)) return ` '${own}' is a preset: AdapterConfig.load('${own}', { … })`
  return didYouMean(own, known) || ` Known: ${known.join(', ')}.`
}

const snake = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
