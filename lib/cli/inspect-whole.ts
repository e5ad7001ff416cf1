import type { AdapterConfig } from '../config/adapter-config.js'
import { quoted } from '../config/check.js'
import { type Composition, formatComposition } from '../config/composition.js'
import { adapterConfigHash } from '../config/config-hash.js'
import { fusionConfigToJson } from '../config/fusion-config.js'
import type { HeadConfig } from '../config/head-config.js'
import type { HeadSetup } from '../config/head-setup.js'
import { defaultHead, isThere, modelClassHead } from '../exchange/static-heads.js'
import { builtIn } from '../exchange/whole-model.js'
import { describeAdapter, describeFusion, describeHead, headFields } from './inspect-config.js'

/** What a model's folder holds beside the model. */
export interface WholeModelSummary {
  readonly adapters: readonly { readonly name: string; readonly config: AdapterConfig; readonly hash: string }[]
  readonly fusions: readonly { readonly name: string; readonly adapters: readonly string[]; readonly config: object }[]
  readonly heads: readonly { readonly name: string; readonly config: HeadConfig }[]
  /** `head` null: none is named, and the rule for heads holds. */
  readonly active: { readonly adapters: Composition; readonly head: HeadSetup }
}

/**
 * Nothing where the folder holds the base model alone.
 * @param json its config.json
 * @param tensors the names of its weights, which tell whether the head of a class is there
 */
export function wholeModelPart(
  json: Readonly<Record<string, unknown>>,
  tensors: readonly string[]
): { readonly wholeModel?: WholeModelSummary } {
  const parts = builtIn(json)
  const ofClass = parts?.heads.has(defaultHead) ? undefined : modelClassHead(json)
  const heads = [
    ...(ofClass !== undefined && isThere(ofClass, tensors) ? [{ name: defaultHead, config: ofClass.config }] : []),
    ...Array.from(parts?.heads ?? [], ([name, config]) => ({ name, config }))
  ]
  const adapters = Array.from(parts?.adapters ?? [], ([name, config]) => ({
    ...{ name, config, hash: adapterConfigHash(config) }
  }))
  const fusions = Array.from(parts?.fusions ?? [], ([name, fusion]) => ({
    ...{ name, adapters: fusion.adapters, config: fusionConfigToJson(fusion.config) }
  }))
  if (adapters.length + heads.length === 0) return {}
  const active = { adapters: parts?.active ?? null, head: parts?.activeHead ?? null }
  return { wholeModel: { adapters, fusions, heads, active } }
}

export function describeWholeModel({ adapters, fusions, heads, active }: WholeModelSummary): string[] {
  return [
    ...adapters.flatMap(({ name, config, hash }) => ['', `adapter '${name}'`, ...describeAdapter(config, hash)]),
    ...fusions.flatMap((one) => [
      ...['', `fusion '${one.name}' over ${quoted(one.adapters)}`],
      describeFusion(one.config)
    ]),
    ...heads.flatMap(({ name, config }) => ['', `head '${name}'`, ...describeHead(config)]),
    ...(adapters.length === 0 && active.head === null ? [] : ['', `active ${formatComposition(active.adapters)}`]),
    ...(active.head === null ? [] : [`  head          ${formatComposition(active.head)}`])
  ]
}

/** With the heads in the words of their file. */
export const wholeModelForPrograms = ({ heads, ...rest }: WholeModelSummary): object => ({
  ...rest,
  heads: heads.map(({ name, config }) => ({ name, config: headFields(config) }))
})
