import { type LoraConfig, loraPlaces, loraScale } from '../config/lora-config.js'
import { linearsOf, modelLinears } from '../config/lora-targets.js'
import type { ModelConfig } from '../config/model-config.js'

/** The Linears of an nn.MultiheadAttention, at whose weights PEFT has one LoRA together, under the attention's own name. */
export const multiheadParts = ['in_proj', 'out_proj'] as const

/** An nn.MultiheadAttention of a network. It takes the weight of its out_proj, a Linear that it never calls. */
export interface MultiheadAttention {
  /** Below the model. */
  readonly path: string
  /** Query, key and value are made by one weight, `in_proj_weight`: PEFT has nothing for others. */
  readonly isOneWeight: boolean
}

/** How LoRA of ours at such an attention is that one of PEFT's. */
export interface MultiheadForm {
  /** Whose rank and alpha it has; the other has none, or no greater rank, and gets zeros up to this one. */
  readonly from: (typeof multiheadParts)[number]
  /**
   * What the second factors at in_proj and at out_proj are multiplied with: PEFT has one scale for both, and adds the latter
   * twice.
   */
  readonly factors: readonly [number, number]
}

/** By the path of the attention, below the model. */
export type MultiheadForms = ReadonlyMap<string, MultiheadForm>

/**
 * Those of a network's nn.MultiheadAttention at which a folder of PEFT's has LoRA in its form: where LoRA stands at one of the
 * two Linears, or at both. Elsewhere at out_proj it does nothing in PEFT.
 */
export function multiheadForms(
  parts: readonly LoraConfig[],
  model: ModelConfig,
  attentions: readonly MultiheadAttention[]
): MultiheadForms {
  const at = partsByPath(parts, model)
  const isLora = (part: LoraConfig | undefined) =>
    part === undefined || (part.compositionMode === 'add' && part.useDora === false && part.veraD === null)
  return new Map(
    attentions.flatMap(({ path: attention, isOneWeight }) => {
      const paths = multiheadParts.map((part) => `${attention}.${part}`)
      const [input, output] = paths.map((path) => at.get(path))
      const isOfOutput = output !== undefined && (input === undefined || output.r > input.r)
      const whole = isOfOutput ? output : input
      if (whole === undefined || !isOneWeight || !isLora(input) || !isLora(output)) return []
      const scale = loraScale(whole)
      if (scale === 0) return []
      const [ofInput, ofOutput] = [input ?? whole, output ?? whole].map((part) => loraScale(part) / scale) as [
        number,
        number
      ]
      return [[attention, { from: isOfOutput ? 'out_proj' : 'in_proj', factors: [ofInput, ofOutput / 2] }]]
    })
  )
}

const partsByPath = (parts: readonly LoraConfig[], model: ModelConfig): ReadonlyMap<string, LoraConfig> =>
  new Map(parts.flatMap((part) => linearsOf(part, loraPlaces(part), model).map(({ path }) => [path, part])))

/** The attentions of these at whose out_proj an adapter stands that PEFT passes by. */
export function passedBy(
  parts: readonly LoraConfig[],
  model: ModelConfig,
  attentions: readonly MultiheadAttention[],
  forms: MultiheadForms
): readonly string[] {
  const at = partsByPath(parts, model)
  return attentions.flatMap(({ path }) => (at.has(`${path}.out_proj`) && !forms.has(path) ? [path] : []))
}

/** Those of PEFT's form whose in_proj is no Linear of ours, as it makes queries of one thing and keys of another: it has zeros there. */
export function outputsAlone(forms: MultiheadForms, model: ModelConfig): readonly string[] {
  const known = new Set(modelLinears(model).map(({ path }) => path))
  return [...forms.keys()].filter((attention) => !known.has(`${attention}.in_proj`))
}

/** A Linear as PEFT's folder names it; none where the attention's own name stands for it already. */
export function multiheadNames(path: string, forms: MultiheadForms): readonly string[] {
  const dot = path.lastIndexOf('.')
  const [owner, name] = [path.slice(0, Math.max(0, dot)), path.slice(dot + 1)]
  const form = forms.get(owner)
  if (form === undefined || !multiheadParts.some((part) => part === name)) return [path]
  return name === form.from ? [owner] : []
}
