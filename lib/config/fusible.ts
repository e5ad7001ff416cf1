import type { AdapterConfig, MethodConfig } from './adapter-config.js'

/** Why AdapterFusion has no meaning for an adapter, and what to do instead; in whole sentences but for the first. */
export interface NotFusible {
  /** As in `'l', which changes weights`. */
  readonly why: string
  readonly hint: string
}

const effects: { readonly [M in AdapterConfig['method']]?: string } = {
  lora: 'changes weights',
  mtl_lora: 'changes weights',
  prefix_tuning: 'adds keys and values to attention',
  prompt_tuning: 'adds tokens to a row',
  reft: 'changes hidden states of some tokens',
  output: 'stands on the last hidden state'
}

/** Methods of which Average takes a weighted mean in a pass. */
const averaged: readonly string[] = ['lora', 'mtl_lora', 'reft']

/** Fusions read what bottlenecks make of one sub-layer's output; every other method acts elsewhere. Null: a fusion may read it. */
export function whyNotFused(name: string, config: AdapterConfig): NotFusible | null {
  const parts: readonly (MethodConfig | AdapterConfig)[] = config.method === 'union' ? config.configs : [config]
  const other = parts.find(({ method }) => method !== 'bottleneck')
  const inFront = `Put it in front of the block: Stack('${name}', Fuse(…))`
  if (parts.some((part) => part.method === 'bottleneck' && part.invAdapter !== null)) {
    return { why: 'has an invertible part at the embeddings, where no fusion is', hint: `${inFront}.` }
  }
  if (other === undefined) return null
  if (config.method === 'union') {
    const methods = [...new Set(parts.map(({ method }) => method))].join(' and ')
    const alone = parts.some(({ method }) => method === 'bottleneck')
      ? ' For a fusion, train its bottleneck as an adapter of its own.'
      : ''
    const part = `${other.method} ${effects[other.method] ?? 'acts elsewhere'}`
    return { why: `is a union of ${methods}, of which ${part}`, hint: `${inFront}.${alone}` }
  }
  const mean = averaged.includes(config.method) ? ', or weigh several of them: Average' : ''
  return { why: effects[config.method] ?? 'acts elsewhere', hint: `${inFront}${mean}.` }
}
