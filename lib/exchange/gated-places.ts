import { type AdapterConfig, ConfigUnion, type MethodConfig } from '../config/adapter-config.js'
import { type LoraConfig, type LoraPlace, loraPlaces, type MtlLoraConfig } from '../config/lora-config.js'
import { linearsOf, placeFields, resolveTargets } from '../config/lora-targets.js'
import type { ModelConfig } from '../config/model-config.js'

/** Of a gated feed-forward block, what the adapter library calls by its two places: the ends of Linears' names. */
interface GatedPlaces {
  readonly intermediate: string
  readonly output: string
}

const upDown: GatedPlaces = { intermediate: 'up_proj', output: 'down_proj' }
// Its classes of Llama and Mistral have the two at each other's places (D23).
const downUp: GatedPlaces = { intermediate: 'down_proj', output: 'up_proj' }
const t5: GatedPlaces = { intermediate: 'wi_1', output: 'wo' }

const placesIn: Readonly<Record<string, GatedPlaces>> = {
  ...{ llama: downUp, mistral: downUp },
  ...{ qwen2: upDown, qwen3: upDown, gemma2: upDown, gemma3_text: upDown },
  ...{ t5, mt5: t5 }
}

type Lora = LoraConfig | MtlLoraConfig
const isLora = (part: AdapterConfig): part is Lora => part.method === 'lora' || part.method === 'mtl_lora'

/** Null: the blocks of this network are none of those, and a config says the same here and there. */
function gatedPlaces({ exported, modelType }: ModelConfig): GatedPlaces | null {
  const inner = exported?.linears.filter(({ layer, place }) => layer === 0 && place === 'intermediate') ?? []
  return inner.length > 1 && Object.hasOwn(placesIn, modelType) ? (placesIn[modelType] as GatedPlaces) : null
}

const endOf = (path: string): string => path.split('.').at(-1) ?? path

/**
 * A config of this model as the adapter library says it, where its places in feed-forward blocks are others than ours; the
 * name of a Linear at which it has nothing, or a text that says why not.
 */
export function inLibraryPlaces(part: Lora, model: ModelConfig): Lora | string {
  const ends = gatedPlaces(model)
  if (ends === null) return part
  const layers = new Map<number, Set<LoraPlace>>()
  for (const { path, layer, place } of linearsOf(part, loraPlaces(part), model)) {
    const isInner = place === 'intermediate' || place === 'output'
    const theirs = isInner ? (['intermediate', 'output'] as const).find((one) => ends[one] === endOf(path)) : place
    if (theirs === null || theirs === undefined)
      return `LoRA at ${path} (in feed-forward: ${Object.values(ends).sort().join(', ')})`
    layers.set(layer, (layers.get(layer) ?? new Set()).add(theirs))
  }
  const sets = [...layers.values()].map((places) => [...places].sort().join())
  if (new Set(sets).size > 1) return 'LoRA at other Linears in each layer'
  const places = [...([...layers.values()][0] ?? [])]
  const others = Array.from({ length: model.numHiddenLayers }, (_, layer) => layer).filter(
    (layer) => !layers.has(layer)
  )
  return part.replace({ ...placeFields(places), leaveOut: others, targetModules: null })
}

/** The other way round. */
export function fromLibraryPlaces(config: AdapterConfig, model: ModelConfig): AdapterConfig {
  const ends = gatedPlaces(model)
  if (ends === null || config.method === 'output') return config
  if (config.method !== 'union') return fromPlaces(config, ends, model)
  const parts = config.configs.map((part) => fromPlaces(part, ends, model))
  return parts.every((part, i) => part === config.configs[i]) ? config : new ConfigUnion(parts)
}

function fromPlaces(part: MethodConfig, ends: GatedPlaces, model: ModelConfig): MethodConfig {
  if (!isLora(part) || part.targetModules !== null || !(part.intermediateLora || part.outputLora)) return part
  const inner = [...(part.intermediateLora ? [ends.intermediate] : []), ...(part.outputLora ? [ends.output] : [])]
  const places = loraPlaces(part).filter((place) => place !== 'intermediate' && place !== 'output')
  const chosen = (model.exported?.linears ?? []).filter(({ path, layer, place }) => {
    if (layer < 0 || place === null || part.leaveOut.includes(layer)) return false
    const isInner = place === 'intermediate' || place === 'output'
    return isInner ? inner.includes(endOf(path)) : places.includes(place)
  })
  return resolveTargets(part.replace({ targetModules: chosen.map(({ path }) => path) }), model) as MethodConfig
}
