import type { NativePromptConfig } from '../native/config-types.js'
import { camelCase } from './case.js'
import * as check from './check.js'
import { checkSeed, type FieldRules, type FieldsOf, FieldTable, type JsonOf, type OverridesOf } from './fields.js'
import type { ModelShape } from './size.js'

/**
 * The adapter library's PromptTuningConfig, field for field: learned vectors among a row's embeddings (Lester et al. 2021,
 * https://arxiv.org/abs/2104.08691). No answer of the model is about them. Frozen.
 */
export class PromptTuningConfig {
  readonly method = 'prompt_tuning' as const
  /** `prompt_length`: how many vectors. Default 10. */
  declare readonly promptLength: number
  /** `prompt_init`: they start as random numbers, or as the embeddings of promptInitText. Default 'random_uniform'. */
  declare readonly promptInit: 'random_uniform' | 'from_string'
  /** `prompt_init_text`: as the tokenizer has it, from the start again where it is shorter than the prompt. Default null. */
  declare readonly promptInitText: string | null
  /** `random_uniform_scale`: random numbers from −this to this. Default 0.5. */
  declare readonly randomUniformScale: number
  /**
   * `combine`: in front of the row, or behind its first token. 'prefix_words': in front and among the words, as PEFT has it,
   * with positions of their own, after which the row's begin; the adapter library has no such form. Default 'prefix'.
   */
  declare readonly combine: 'prefix' | 'prefix_after_bos' | 'prefix_words'
  /** `init_weights_seed`: where the first values come from; null: the model's random numbers. Default null. */
  declare readonly initWeightsSeed: number | null

  /**
   * @param fields camelCase or snake_case; undefined leaves the default; null, as in Python, is false of yes or no and
   * an error of a number, else the default
   */
  constructor(fields: PromptTuningOverrides = {}) {
    Object.assign(this, promptFields.read(check.checkObject('adapter config', fields)))
    if (this.promptInit === 'from_string' && this.promptInitText === null) {
      throw check.valueError('promptInitText', "must be given with promptInit 'from_string'")
    }
    Object.freeze(this)
  }

  /** A new config with some fields changed. */
  replace(changes: PromptTuningOverrides): PromptTuningConfig {
    const { method: _, ...fields } = this
    return new PromptTuningConfig({ ...fields, ...promptFields.present(changes) })
  }

  /**
   * The adapter library's dict: snake_case, as `adapter_config.json` holds it. random_uniform_scale is there only where it
   * is not the default: the library has no such field in its files.
   */
  toJSON(): Record<string, unknown> {
    const { random_uniform_scale: scale, ...fields } = promptFields.toJSON(this)
    return { architecture: this.method, ...fields, ...(scale !== 0.5 && { random_uniform_scale: scale }) }
  }
}

export type PromptTuningFields = FieldsOf<PromptTuningConfig>
export type PromptTuningOverrides = OverridesOf<PromptTuningFields>
export type PromptTuningJson = JsonOf<PromptTuningFields> & { readonly architecture: string }

const inits = ['random_uniform', 'from_string'] as const
const combinations = ['prefix', 'prefix_after_bos', 'prefix_words'] as const

/** Numbers that are floats in Python: their JSON needs a decimal point. */
export const promptFloatKeys: ReadonlySet<string> = new Set(['random_uniform_scale'])

const rules: FieldRules<PromptTuningFields> = {
  promptLength: check.checkPositiveInteger,
  promptInit: (name, value) => check.checkOneOf(name, value, inits),
  promptInitText: (name, value) => (value === null ? null : check.checkNonEmptyString(name, value)),
  randomUniformScale: (name, value) => check.checkNumber(name, value, { from: 0 }),
  combine: (name, value) => check.checkOneOf(name, value, combinations),
  initWeightsSeed: checkSeed
}

export const promptFields = new FieldTable<PromptTuningFields>(
  ['prompt_length', 'prompt_init', 'prompt_init_text', 'random_uniform_scale', 'combine', 'init_weights_seed'],
  camelCase,
  rules,
  {
    promptLength: 10,
    promptInit: 'random_uniform',
    promptInitText: null,
    randomUniformScale: 0.5,
    combine: 'prefix',
    initWeightsSeed: null
  }
)

export function countPrompt({ promptLength }: PromptTuningConfig, { hiddenSize, embeddingSize }: ModelShape): number {
  return promptLength * (embeddingSize ?? hiddenSize)
}

/** The config as the core takes it. `words`: ids of the text that the prompt starts with. */
export function nativePromptConfig(
  config: PromptTuningConfig,
  words: (text: string) => readonly number[]
): NativePromptConfig {
  const { promptInit, promptInitText } = config
  return {
    method: 'prompt_tuning',
    length: config.promptLength,
    after_first: config.combine === 'prefix_after_bos',
    as_words: config.combine === 'prefix_words',
    random_uniform_scale: config.randomUniformScale,
    start_ids: promptInit === 'from_string' && promptInitText !== null ? words(promptInitText) : [],
    init_weights_seed: config.initWeightsSeed
  }
}
