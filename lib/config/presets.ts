import { BottleneckConfig, type BottleneckOptions } from './bottleneck-config.js'
import { LoraConfig, MtlLoraConfig } from './lora-config.js'
import { PrefixTuningConfig } from './prefix-config.js'
import { PromptTuningConfig } from './prompt-config.js'
import { ReftConfig } from './reft-config.js'

const sequential: BottleneckOptions = {
  originalLnBefore: true,
  mhAdapter: false,
  outputAdapter: true,
  nonLinearity: 'relu',
  reductionFactor: 16
}

const parallel: BottleneckOptions = {
  isParallel: true,
  initWeights: 'mam_adapter',
  scaling: 4,
  mhAdapter: false,
  outputAdapter: true,
  nonLinearity: 'relu',
  reductionFactor: 2
}

/** Pfeiffer et al. 2020, https://arxiv.org/abs/2005.00247: one adapter a layer, after the feed-forward block. */
const seqBn = new BottleneckConfig(sequential)

/** The same adapter after the attention block instead. */
const attnBn = seqBn.replace({ mhAdapter: true, outputAdapter: false })

/** Houlsby et al. 2019, https://arxiv.org/abs/1902.00751: two adapters a layer. */
const doubleSeqBn = new BottleneckConfig({
  mhAdapter: true,
  outputAdapter: true,
  nonLinearity: 'swish',
  reductionFactor: 16
})

/** He et al. 2021, https://arxiv.org/abs/2110.04366: beside the feed-forward block. */
const parBn = new BottleneckConfig(parallel)
const scaledParBn = parBn.replace({ scaling: 'learned' })

/** Steitz and Roth 2024, https://arxiv.org/abs/2406.06820: Adapter+. */
const adapterPlus = new BottleneckConfig({
  originalLnBefore: true,
  originalLnAfter: false,
  residualBeforeLn: false,
  stochasticDepth: 0.1,
  initWeights: 'houlsby',
  scaling: 'channel',
  mhAdapter: false,
  outputAdapter: true,
  nonLinearity: 'gelu',
  reductionFactor: 96
})

/** Pfeiffer et al. 2020, https://arxiv.org/abs/2005.00052: for a language, with an invertible adapter at the embeddings. */
const invertible = { invAdapter: 'nice', invAdapterReductionFactor: 2 } as const
const seqBnInv = seqBn.replace(invertible)
const doubleSeqBnInv = doubleSeqBn.replace(invertible)

/** Karimi Mahabadi et al. 2021, https://arxiv.org/abs/2106.04647: sums of Kronecker products for the projections. */
const compacterFields = { phmLayer: true, reductionFactor: 32, nonLinearity: 'gelu' } as const
const compacter = doubleSeqBn.replace(compacterFields)

/** Hu et al. 2021, https://arxiv.org/abs/2106.09685. */
const lora = new LoraConfig()

/** Liu et al. 2022, https://arxiv.org/abs/2205.05638: (IA)³. */
const ia3 = new LoraConfig({
  intermediateLora: true,
  r: 1,
  alpha: 1,
  attnMatrices: ['k', 'v'],
  compositionMode: 'scale',
  initWeights: 'ia3'
})

/** Kopiczko et al. 2024, https://arxiv.org/abs/2310.11454. */
const vera = new LoraConfig({ veraD: 0.1, veraB: 0, initWeights: 'vera' })

/** Li and Liang 2021, https://arxiv.org/abs/2101.00190. */
const prefixTuning = new PrefixTuningConfig()

/** Wu et al. 2024, https://arxiv.org/abs/2404.03592. */
const loreft = new ReftConfig()

/**
 * Named configs. The library's names and its old ones; `attn_bn` and `adapter_plus`, which it has no name for; and the
 * four places by their plain names: after_ffn, after_attention, both, parallel.
 */
export const adapterPresets = Object.freeze({
  seq_bn: seqBn,
  double_seq_bn: doubleSeqBn,
  par_bn: parBn,
  scaled_par_bn: scaledParBn,
  seq_bn_inv: seqBnInv,
  double_seq_bn_inv: doubleSeqBnInv,
  'pfeiffer+inv': seqBnInv,
  'houlsby+inv': doubleSeqBnInv,
  compacter,
  'compacter++': seqBn.replace(compacterFields),
  attn_bn: attnBn,
  adapter_plus: adapterPlus,
  pfeiffer: seqBn,
  houlsby: doubleSeqBn,
  parallel: parBn,
  scaled_parallel: scaledParBn,
  lora,
  ia3,
  vera,
  /** Liu et al. 2024, https://arxiv.org/abs/2402.09353. */
  dora: new LoraConfig({ useDora: true }),
  dvora: vera.replace({ useDora: true }),
  /** Yang et al. 2024, https://arxiv.org/abs/2410.09437. */
  mtl_lora: new MtlLoraConfig(),
  prefix_tuning: prefixTuning,
  prefix_tuning_flat: prefixTuning.replace({ flat: true }),
  /** Lester et al. 2021, https://arxiv.org/abs/2104.08691. */
  prompt_tuning: new PromptTuningConfig(),
  loreft,
  noreft: loreft.replace({ orthogonality: false }),
  direft: loreft.replace({ orthogonality: false, subtractProjection: false }),
  after_ffn: seqBn,
  after_attention: attnBn,
  both: doubleSeqBn
})

/** Presets that put several methods under one name, as shorthands. */
export const unionPresets = Object.freeze({
  /** He et al. 2021, https://arxiv.org/abs/2110.04366: mix-and-match. */
  mam: 'prefix_tuning[bottleneck_size=800]|par_bn',
  /** Mao et al. 2022, https://arxiv.org/abs/2110.07577: each method with a gate. */
  unipelt: 'prefix_tuning[prefix_length=10, use_gating=True]|seq_bn[use_gating=True]|lora[alpha=2, use_gating=True]'
})

export type AdapterPreset = keyof typeof adapterPresets | keyof typeof unionPresets

/** The names of both. */
export const presetNames: readonly string[] = Object.freeze([
  ...Object.keys(adapterPresets),
  ...Object.keys(unionPresets)
])

export function isAdapterPreset(name: string): name is keyof typeof adapterPresets {
  return Object.hasOwn(adapterPresets, name)
}

export function isUnionPreset(name: string): name is keyof typeof unionPresets {
  return Object.hasOwn(unionPresets, name)
}
