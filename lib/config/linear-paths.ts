import type { LoraPlace } from './lora-config.js'
import type { ModelConfig } from './model-config.js'
import type { ModelType } from './model-families.js'

/** Where a family's layers stand below its prefix, and the Linears of a layer below that. */
export interface LinearPaths {
  /** The name in front of all parameters of a class with a head. */
  readonly prefix: string
  readonly layers: string
  /** Where the family has `query_key_value`, it has the first three in that one. */
  readonly places: { readonly [P in LoraPlace]?: string }
}

const bert: LinearPaths = {
  prefix: 'bert',
  layers: 'encoder.layer',
  places: {
    query: 'attention.self.query',
    key: 'attention.self.key',
    value: 'attention.self.value',
    attention_output: 'attention.output.dense',
    intermediate: 'intermediate.dense',
    output: 'output.dense'
  }
}

export const linearPaths: Readonly<Record<ModelType, LinearPaths>> = {
  bert,
  roberta: { ...bert, prefix: 'roberta' },
  'xlm-roberta': { ...bert, prefix: 'roberta' },
  electra: { ...bert, prefix: 'electra' },
  distilbert: {
    prefix: 'distilbert',
    layers: 'transformer.layer',
    places: {
      query: 'attention.q_lin',
      key: 'attention.k_lin',
      value: 'attention.v_lin',
      attention_output: 'attention.out_lin',
      intermediate: 'ffn.lin1',
      output: 'ffn.lin2'
    }
  },
  gpt2: {
    prefix: 'transformer',
    layers: 'h',
    places: {
      query_key_value: 'attn.c_attn',
      attention_output: 'attn.c_proj',
      intermediate: 'mlp.c_fc',
      output: 'mlp.c_proj'
    }
  },
  vit: {
    ...bert,
    prefix: 'vit',
    places: {
      ...bert.places,
      query: 'attention.attention.query',
      key: 'attention.attention.key',
      value: 'attention.attention.value'
    }
  }
}

/** Of one of our own families. */
export function linearPathsOf({ modelType }: Pick<ModelConfig, 'modelType'>): LinearPaths {
  return linearPaths[modelType as ModelType]
}

/** The name in front of all parameters of a class with a head; empty: there is none. */
export function prefixOf({ modelType, exported }: Pick<ModelConfig, 'modelType' | 'exported'>): string {
  return exported?.filePrefix ?? linearPaths[modelType as ModelType].prefix
}

/** A path below the base model as a class with a head has it. */
export function prefixed(path: string, model: Pick<ModelConfig, 'modelType' | 'exported'>): string {
  const prefix = prefixOf(model)
  return prefix === '' ? path : `${prefix}.${path}`
}

/** Whether one product makes query, key and value. */
export function hasMergedProduct({ modelType, exported }: Pick<ModelConfig, 'modelType' | 'exported'>): boolean {
  if (exported !== null) return exported.linears.some(({ place }) => place === 'query_key_value')
  return linearPaths[modelType as ModelType].places.query_key_value !== undefined
}

/** A place and its layer, for a path below the prefix; undefined for any other module. */
export function placeOfPath(
  { layers, places }: LinearPaths,
  path: string
): { readonly layer: number; readonly place: LoraPlace } | undefined {
  if (!path.startsWith(`${layers}.`)) return undefined
  const [, layer, rest] = /^(\d{1,6})\.(.+)$/.exec(path.slice(layers.length + 1)) ?? []
  const place = (Object.keys(places) as LoraPlace[]).find((one) => places[one] === rest)
  return place === undefined ? undefined : { layer: Number(layer), place }
}

/** The path of a place below the prefix. */
export function pathOfPlace({ layers, places }: LinearPaths, layer: number, place: LoraPlace): string {
  return `${layers}.${layer}.${places[place]}`
}
