import type { AdapterConfig } from '../config/adapter-config.js'
import type { ModelConfig } from '../config/model-config.js'
import { warnOnce } from '../config/warn-once.js'
import { AdapterError } from '../native/errors.js'
import type { AdapterFolder } from './adapter-folder.js'
import { libraryFails } from './library-fails.js'
import { fusionFails } from './library-fusions.js'

const partsOf = (config: AdapterConfig) => (config.method === 'union' ? config.configs : [config])

/** Where an adapter of this model answers otherwise in the adapter library, which says nothing of it; undefined: nowhere. */
function otherPlace(config: AdapterConfig, { modelType, exported }: ModelConfig): string | undefined {
  if (exported === null) return undefined
  const has = (method: string) => partsOf(config).some((part) => part.method === method)
  if (['gemma2', 'gemma3_text'].includes(modelType) && has('bottleneck'))
    return `puts bottleneck adapters of ${exported.className} in front of the norm behind each block, and here they stand behind it`
  if (modelType === 'albert' && (has('bottleneck') || has('reft')))
    return `has bottleneck adapters and ReFT of ${exported.className} under other names, some of them in other layers`
  if (exported.decoder !== null && has('prefix_tuning'))
    return `has prefixes of ${exported.className} apart for its encoder, its decoder and the attention across`
  if (['t5', 'mt5'].includes(modelType) && has('prefix_tuning'))
    return `counts a prefix of ${exported.className} among the positions of keys, and not of those that attend to them`
  return undefined
}

/** In these, ours as well, Python's classes keep what an invertible adapter makes of the words' states; its own heads do not. */
const keepsInverted = ['bert', 'roberta', 'xlm-roberta', 'electra', 'distilbert', 'gpt2']

function otherWords(config: AdapterConfig, { modelType, exported }: ModelConfig): string | undefined {
  const isWords = /(LMHeadModel|ForCausalLM|ForMaskedLM)$/.test(exported?.className ?? '')
  if (exported === null || !isWords || !keepsInverted.includes(modelType) || !isInvertible(config)) return undefined
  return `does not undo the invertible adapter before the words of ${exported.className}, as is done here and in the heads of its AutoAdapterModel. Load it into such a one there, or expect other words.`
}

const isInvertible = (config: AdapterConfig) =>
  partsOf(config).some((part) => part.method === 'bottleneck' && part.invAdapter !== null)

const isDireft = (config: AdapterConfig) => config.method === 'reft' && !config.subtractProjection

/** What the library makes of an adapter that it cannot give the answers of, with a warning's code. */
function differenceOf(config: AdapterConfig, model: ModelConfig): { code: string; text: string } | undefined {
  const place = otherPlace(config, model)
  const other = place ?? libraryFails(config, model)
  if (other !== undefined) {
    const code = place === undefined ? 'TORCH_ADAPTERS_FAILS_IN_PYTHON' : 'TORCH_ADAPTERS_OTHER_PLACE'
    const works = (part: AdapterConfig) => libraryFails(part, model) === undefined
    const asParts = place === undefined && partsOf(config).every(works)
    const instead = asParts ? 'make its parts adapters of their own and stack them' : 'train LoRA instead'
    return { code, text: `${other}. The folder gives its answers here alone; for Python ${instead}.` }
  }
  const words = otherWords(config, model)
  if (words !== undefined) return { code: 'TORCH_ADAPTERS_OTHER_ANSWERS', text: words }
  if (!partsOf(config).some(isDireft)) return undefined
  const text =
    'does not read that it is a DiReFT, and takes it for a LoReFT. There set subtract_projection = False on its'
  return { code: 'TORCH_ADAPTERS_OTHER_ANSWERS', text: `${text} ReftUnits after load_adapter.` }
}

/**
 * For a folder that is written for the adapter library: it is whole here, and Python answers otherwise or refuses it. Once for
 * each adapter and reason.
 */
export function warnOfDifference(name: string, config: AdapterConfig, model: ModelConfig): void {
  const difference = differenceOf(config, model)
  if (difference === undefined) return
  const { code, text } = difference
  warnOnce(model, `save the adapter '${name}': the adapter library ${text}`, code)
}

/** The same of a fusion over such adapters. */
export function warnOfFusion(
  name: string,
  adapters: readonly string[],
  configs: ReadonlyMap<string, AdapterConfig>,
  model: ModelConfig
): void {
  const problem = fusionFails(adapters, configs)
  if (problem === undefined) return
  const text = `save the fusion '${name}': the adapter library cannot read or run it: ${problem}. It gives its answers here alone.`
  warnOnce(model, text, 'TORCH_ADAPTERS_FAILS_IN_PYTHON')
}

const toldWhole = new WeakSet<ModelConfig>()

/** The same for all adapters of a model in one file, which Python reads while transformers lets nothing be initialised. */
export function warnOfWhole(adapters: ReadonlyMap<string, AdapterConfig>, model: ModelConfig): void {
  for (const [name, config] of adapters) warnOfDifference(name, config, model)
  const hasPhm = (config: AdapterConfig) =>
    partsOf(config).some((part) => part.method === 'bottleneck' && part.phmLayer)
  const [name] = [...adapters].find(([, config]) => hasPhm(config)) ?? []
  if (name === undefined || toldWhole.has(model)) return
  toldWhole.add(model)
  process.emitWarning(
    `save the model: from_pretrained of the adapter library fails on Compacter ('${name}'), in its own folders, too. The ` +
      'folder gives its answers here alone; for Python write the adapter with saveAdapter.',
    { code: 'TORCH_ADAPTERS_FAILS_IN_PYTHON' }
  )
}

/** Refuses what Python trained at another place than ours. Folders of this library note where theirs stand. */
export function checkLibraryPlace(
  { folder, model: { placed } }: AdapterFolder,
  config: AdapterConfig,
  model: ModelConfig
) {
  const other = placed === null ? otherPlace(config, model) : undefined
  if (other === undefined) return
  throw new AdapterError(
    'ERR_UNSUPPORTED',
    'load the weights',
    `${folder} would give other answers here than in Python`,
    {
      expected: 'an adapter that was trained here, or one of LoRA',
      got: `one of Python's, which ${other}`,
      hint: 'Train it here, or use LoRA in Python.'
    }
  )
}
