import * as check from '../config/check.js'
import type { ModelConfig } from '../config/model-config.js'
import { loadAddon } from '../native/addon.js'
import { nativeCall } from '../native/errors.js'
import type { TrunkTimes, TrunkType } from '../native/types.js'

/** What `trunk` may be. 'auto' measures and takes the faster one. */
export type TrunkOption = TrunkType | 'auto'

export const trunkOptions = ['float32', 'bfloat16', 'auto'] as const

/** What a model has, and where it was chosen by a measurement, the milliseconds that decided. */
export interface TrunkChoice {
  readonly trunk: TrunkType
  readonly trunkProbe: TrunkTimes | null
}

/** Digits are not given away for what may be noise: bfloat16 must take at most so much of float32's time. */
const fasterAtLeast = 0.9

export const fasterTrunk = ({ float32, bfloat16 }: TrunkTimes): TrunkType =>
  bfloat16 < fasterAtLeast * float32 ? 'bfloat16' : 'float32'

/** Times a few products of one layer's sizes both ways, in under a second; once in a process for the same sizes. */
export async function probeTrunk(
  { hiddenSize, intermediateSize }: Pick<ModelConfig, 'hiddenSize' | 'intermediateSize'>,
  device: string
): Promise<TrunkTimes> {
  return await nativeCall(() => loadAddon().probeTrunk(hiddenSize, intermediateSize, device))
}

export async function chooseTrunk(option: unknown, config: ModelConfig, device: string): Promise<TrunkChoice> {
  const trunk = check.checkOneOf('trunk', option, trunkOptions)
  if (trunk !== 'auto') return { trunk, trunkProbe: null }
  const trunkProbe = await probeTrunk(config, device)
  return { trunk: fasterTrunk(trunkProbe), trunkProbe }
}

/** `trunk float32: bfloat16 took 5.21 ms, float32 3.14 ms` */
export function describeTrunk({ trunk, trunkProbe }: TrunkChoice): string {
  if (trunkProbe === null) return `trunk ${trunk}`
  const [narrow, wide] = [trunkProbe.bfloat16, trunkProbe.float32].map((time) => `${time.toFixed(2)} ms`)
  return `trunk ${trunk}: bfloat16 took ${narrow}, float32 ${wide}`
}
