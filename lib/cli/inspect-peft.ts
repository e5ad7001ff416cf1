import type { PeftConfig } from '../config/peft-config.js'
import { type PeftFolder, readPeftFolder } from '../exchange/peft-folder.js'
import { peftTensors } from '../exchange/peft-targets.js'
import { summarizeWeights, type WeightsSummary } from './weights-summary.js'

/** What inspect tells of a PEFT folder. Which places of a model it has, only the model can say. */
export interface PeftSummary {
  readonly name: string
  readonly config: PeftConfig
  /** The modules at which it stands. */
  readonly modules: readonly string[]
  /** Tensors that are stored whole, such as a classifier's. */
  readonly stored: readonly string[]
  readonly weights: WeightsSummary
}

export async function summarizePeft(path: string): Promise<PeftSummary> {
  const folder: PeftFolder = await readPeftFolder(path)
  const { modules, others } = peftTensors(folder)
  return {
    name: folder.name,
    config: folder.config,
    modules: [...modules.keys()],
    stored: others,
    weights: await summarizeWeights(folder.weightsFile)
  }
}

/** Without the weights, which all folders describe alike. */
export function describePeft({ name, config, modules, stored }: PeftSummary): string[] {
  const ends = [...new Set(modules.map((module) => module.split('.').slice(-2).join('.')))]
  const task = config.taskType === null ? (config.baseClass ?? 'not told') : config.taskType
  return [
    `PEFT adapter '${name}'`,
    `  method        ${describeMethod(config)}`,
    ...(modules.length === 0 ? [] : [`  at            ${modules.length} Linears: ${ends.join(', ')}`]),
    ...(stored.length === 0 ? [] : [`  stored whole  ${stored.join(', ')}`]),
    `  task          ${task}`,
    `  trained on    ${config.baseModel === '' ? 'a model that it does not name' : config.baseModel}`,
    `  written by    ${config.version === null ? 'peft' : `peft ${config.version}`}`
  ]
}

function describeMethod({ method }: PeftConfig): string {
  if (method.type === 'IA3') return '(IA)³'
  if (method.type === 'PREFIX_TUNING') return `prefix tuning: ${method.tokens} keys and values in each layer`
  if (method.type === 'PROMPT_TUNING') return `prompt tuning: ${method.tokens} vectors in front of a row`
  if (method.type === 'VERA') return `VeRA: r=${method.r}, dropout=${method.dropout}`
  const kind = method.dora ? 'DoRA' : 'LoRA'
  const patterns = method.rankPattern.size + method.alphaPattern.size > 0 ? ', others by patterns' : ''
  const scale = method.rankStabilised ? ' / √r' : ' / r'
  return `${kind}: r=${method.r}, alpha=${method.alpha}${scale}, dropout=${method.dropout}${patterns}`
}
