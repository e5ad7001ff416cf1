import type { AdapterConfig } from '../config/adapter-config.js'
import {
  adapterNames,
  type BlockType,
  type Composition,
  formatComposition,
  lastAdapters
} from '../config/composition.js'
import type { ModelConfig } from '../config/model-config.js'
import { fusionFails } from './library-fusions.js'

/** What may stand in what in the adapter library (version 1.3). */
const nestings: Readonly<Record<BlockType, readonly BlockType[]>> = {
  Stack: ['Fuse', 'Split', 'Parallel', 'BatchSplit', 'Average', 'MultiTask'],
  Fuse: ['Stack'],
  Split: ['Split', 'Stack', 'BatchSplit', 'Average'],
  Parallel: ['Stack', 'BatchSplit', 'Average'],
  MultiTask: ['Stack', 'Average', 'Fuse'],
  BatchSplit: ['Stack', 'Split', 'BatchSplit', 'Average'],
  Average: ['Stack', 'Split', 'BatchSplit']
}

/** Families whose layers it runs several adapters in side by side. */
const parallelFamilies = new Set(
  (
    'albert bert roberta distilbert deberta-v2 deberta bart mbart mt5 plbart gpt2 gptj t5 vit xlm-roberta ' +
    'bert-generation llama mistral electra whisper xmod'
  ).split(' ')
)

type Adapters = ReadonlyMap<string, AdapterConfig>

/** The block that the library refuses, and why; undefined: it takes the setup. */
function refusal(setup: Composition, adapters: Adapters, model: ModelConfig, level = 0): string | undefined {
  if (setup === null || typeof setup === 'string') return undefined
  const text = formatComposition(setup)
  if (level > 1 && setup.type !== 'Stack') return `refuses ${text}: so deep inside others it has no block but Stack`
  if (setup.children.includes(null)) return `fails on ${text}: it has no null in a setup, and cannot load the folder`
  if (setup.type === 'Parallel' && !parallelFamilies.has(model.modelType))
    return `refuses ${text}: it has no Parallel for models of type ${model.modelType}`
  const changesWeights = adapterNames(setup).find((name) => lorasOf(adapters.get(name)).length > 0)
  if (setup.type === 'Split' && changesWeights !== undefined)
    return `fails on ${text}: it has no Split of what changes weights ('${changesWeights}')`
  const fusion = setup.type === 'Fuse' ? fusionFails(setup.children.flatMap(lastAdapters), adapters) : undefined
  if (fusion !== undefined) return `fails on ${text}: ${fusion}`
  const loras = adapterNames(setup).flatMap((name) => lorasOf(adapters.get(name)))
  if (setup.type === 'Average' && new Set(loras.map((lora) => lora.compositionMode)).size > 1)
    return `fails on ${text}: it has no mean of what adds to weights and what multiplies them`
  for (const child of setup.children) {
    if (child !== null && typeof child !== 'string' && !nestings[setup.type].includes(child.type))
      return `refuses ${text}: it has no ${child.type} in a ${setup.type}`
    const inside = refusal(child, adapters, model, level + 1)
    if (inside !== undefined) return inside
  }
  return undefined
}

/** LoRA and its kin, which change weights. */
function lorasOf(config: AdapterConfig | undefined) {
  const parts = config?.method === 'union' ? config.configs : [config]
  return parts.flatMap((part) => (part?.method === 'lora' || part?.method === 'mtl_lora' ? [part] : []))
}

/** For a setup's folder, which is whole here: Python loads its adapters, and refuses to run them so. */
export function warnOfSetup(setup: Composition, adapters: Adapters, model: ModelConfig): void {
  const problem = refusal(setup, adapters, model)
  if (problem === undefined) return
  process.emitWarning(
    `save the setup: the adapter library ${problem}. The setup runs here alone; its adapters' folders load there one by one.`,
    { code: 'TORCH_ADAPTERS_FAILS_IN_PYTHON' }
  )
}
