import type { NativeExportedFacts } from '../native/exported-types.js'
import { activations } from './activations.js'
import * as check from './check.js'
import type { ExportedNetwork, ExportReading } from './exported-network.js'
import type { Placement } from './exported-placement.js'
import type { ModelConfig } from './model-config.js'
import { type ModelType, modelFamilies, moduleOf } from './model-families.js'
import { placementRecord } from './placement-record.js'

/** What the export script notes beside the graph, `extra/torch_adapters.json`; every field may be missing. */
export interface ExportNote {
  readonly className: string
  /** Where Python has the class. */
  readonly module: string
  readonly prefix: string
  readonly modelType: string
  /** Its forward takes `inputs_embeds`. */
  readonly takesEmbeds: boolean
  /** The fields of Hugging Face's config.json. */
  readonly config: Readonly<Record<string, unknown>>
}

/** Of transformers (4.57), those whose forward takes ids alone, for archives that do not say it. */
const takesIdsAlone = /^(Aimv2|CLIP|CLIPSeg|Flava|GroupViT|MetaClip2|Owlv2|OwlViT|Siglip|Siglip2|XCLIP)TextModel$/

/** Reads the note as it stands in the archive; undefined: the archive has none. */
export function readExportNote(json: Readonly<Record<string, unknown>> | undefined): ExportNote {
  const text = (key: string) => (typeof json?.[key] === 'string' ? json[key] : '')
  const config = json?.['config']
  const embeds = json?.['takes_inputs_embeds']
  return {
    className: text('class'),
    module: text('module'),
    prefix: text('base_model_prefix'),
    modelType: text('model_type'),
    takesEmbeds: typeof embeds === 'boolean' ? embeds : !takesIdsAlone.test(text('class')),
    config: config === null || config === undefined ? {} : check.checkObject('config', config)
  }
}

const positive = (name: string, value: unknown) => check.checkInteger(name, value, 1, 1 << 30)
const probability = (name: string, value: unknown) => check.checkNumber(name, value, { from: 0, to: 1 })

/** A model's config from its graph, and from the config of its class for what no graph says: dropout and norms of heads. */
export function exportedModelConfig(
  facts: NativeExportedFacts,
  note: ExportNote,
  source: string,
  reading: ExportReading = { output: null, pooling: 'automatic' },
  placement: Placement = 'auto'
): ModelConfig {
  const { config } = note
  const type = note.modelType === '' ? 'exported' : note.modelType
  const family = modelFamilies[type as ModelType] as (typeof modelFamilies)[ModelType] | undefined
  // Families call the same number by several names.
  const read = <T>(names: readonly string[], rule: (name: string, value: unknown) => T, otherwise: T): T => {
    // A list has a value for each stage of a network (Swin): none is that of the whole.
    const name = names.find((one) => config[one] !== undefined && config[one] !== null && !Array.isArray(config[one]))
    return name === undefined ? otherwise : rule(name, config[name])
  }
  const hiddenSize = facts.hidden
  const [channels, sides] = imageOf(facts)
  const intermediate = facts.linears.find(({ place }) => place === 'intermediate')?.out
  const dropout = read(['hidden_dropout_prob', 'dropout', 'resid_pdrop', 'hidden_dropout'], probability, 0)
  const attention = ['attention_probs_dropout_prob', 'attention_dropout', 'attn_pdrop']
  return Object.freeze({
    modelType: type,
    // Where it looks up other things than ids with the words' embedding, its config must tell.
    vocabSize: facts.vocabulary || read(['vocab_size', 'n_words'], positive, 0),
    embeddingSize: read(['embedding_size'], positive, hiddenSize),
    hiddenSize,
    numHiddenLayers: facts.layers,
    numAttentionHeads: read(
      ['num_attention_heads', 'n_head', 'n_heads', 'num_heads', 'encoder_attention_heads'],
      positive,
      1
    ),
    intermediateSize: intermediate ?? 4 * hiddenSize,
    // Heads for masked words have it, too.
    hiddenAct: activations.find((one) => one === config[family?.names.hiddenAct ?? 'hidden_act']) ?? 'gelu',
    embeddingDropoutProb: dropout,
    hiddenDropoutProb: dropout,
    attentionProbsDropoutProb: read(attention, probability, 0),
    maxPositionEmbeddings:
      facts.longestRow > 0 ? facts.longestRow : read(['max_position_embeddings', 'n_positions'], positive, 1 << 24),
    sinusoidalPosEmbds: false,
    typeVocabSize: facts.inputs.includes('token_type_ids') ? read(['type_vocab_size'], positive, 1 << 24) : 0,
    initializerRange: read(['initializer_range'], (name, value) => check.checkNumber(name, value, { from: 0 }), 0.02),
    layerNormEps: read(
      ['layer_norm_eps', 'layer_norm_epsilon', 'rms_norm_eps', 'norm_eps'],
      (name, value) => check.checkNumber(name, value, { from: 0, below: 1 }),
      family?.defaults.layerNormEps ?? 1e-5
    ),
    padTokenId: read(['pad_token_id'], (name, value) => check.checkInteger(name, value, -1, 1 << 30), -1),
    qkvBias: true,
    imageSize: sides,
    patchSize: sides,
    numChannels: channels,
    bosTokenId: null,
    eosTokenId: null,
    tieWordEmbeddings: read(['tie_word_embeddings'], check.checkBoolean, true),
    classifierDropout: read(['classifier_dropout'], probability, family?.defaults.classifierDropout ?? null),
    nameOrPath: read(['_name_or_path'], check.checkString, source),
    exported: network(facts, note, reading, placement)
  })
}

function network(
  facts: NativeExportedFacts,
  { className, module, modelType, prefix, takesEmbeds, config }: ExportNote,
  reading: ExportReading,
  placement: Placement
): ExportedNetwork {
  const start = config['decoder_start_token_id'] ?? config['pad_token_id']
  return Object.freeze({
    className: className === '' ? facts.type : className,
    pythonModule: module !== '' ? module : modelType === '' ? '' : moduleOf(modelType),
    ofHuggingFace: modelType !== '',
    takesEmbeds,
    hasOwnHead: prefix !== '' && (facts.topLevel.includes(prefix) || facts.ownLabels > 0),
    outputSize: facts.outputSize,
    prefix: facts.prefix,
    // A class with a head has the base model as a module of this name: its names have the prefix already.
    filePrefix: facts.topLevel.includes(prefix) ? '' : prefix,
    keyFeatures: facts.keyFeatures,
    keyHeads: facts.keyHeads,
    slidingWindow: slidingWindow(config),
    isCausal: facts.isCausal,
    inputs: Object.freeze([...facts.inputs]),
    outputs: Object.freeze([...facts.outputs]),
    rowTokens: facts.rowTokens,
    values: Object.freeze(imageOf(facts)[1] === null ? [...facts.image] : []),
    tokensText: facts.tokensText,
    lengthName: facts.lengthText,
    decoder: facts.hasDecoder
      ? Object.freeze({ startTokenId: typeof start === 'number' && start >= 0 ? start : null })
      : null,
    reading: Object.freeze(reading),
    placed: placementRecord(placement, facts.sites),
    linears: Object.freeze(facts.linears.map((linear) => Object.freeze(linear))),
    unclearLinears: Object.freeze({ ...facts.unclearLinears }),
    explanation: Object.freeze([...facts.explanation])
  })
}

/** Qwen2's config may have one that it says it does not use. */
function slidingWindow({ sliding_window: window, use_sliding_window: used }: ExportNote['config']): number | null {
  return typeof window === 'number' && window > 0 && used !== false ? window : null
}

/** Channels, height and width where a row is an image of one size; otherwise it is ids, or numbers of another form. */
function imageOf({ image }: NativeExportedFacts): readonly [number, readonly [number, number] | null] {
  const [channels = 0, height = 0, width = 0] = image
  if (image.length !== 3 || Math.min(...image) < 1) return [0, null]
  return [channels, Object.freeze([height, width] as const)]
}
