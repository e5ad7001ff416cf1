import test from 'ava'
import {
  maxRowLength,
  modelConfigFromJson,
  modelConfigToJson,
  nativeModelConfig
} from '../../lib/config/model-config.js'

// The config.json of roberta-base.
const robertaBase = {
  architectures: ['RobertaForMaskedLM'],
  attention_probs_dropout_prob: 0.1,
  bos_token_id: 0,
  eos_token_id: 2,
  hidden_act: 'gelu',
  hidden_dropout_prob: 0.1,
  hidden_size: 768,
  initializer_range: 0.02,
  intermediate_size: 3072,
  layer_norm_eps: 1e-5,
  max_position_embeddings: 514,
  model_type: 'roberta',
  num_attention_heads: 12,
  num_hidden_layers: 12,
  pad_token_id: 1,
  type_vocab_size: 1,
  vocab_size: 50265
}

test('a real config.json', (t) => {
  const config = modelConfigFromJson(robertaBase)
  t.is(config.layerNormEps, 1e-5)
  t.is(config.typeVocabSize, 1)
  t.is(config.classifierDropout, null)
  t.is(maxRowLength(config), 512)
  t.true(Object.isFrozen(config))
  t.false('classifierDropout' in nativeModelConfig(config))
})

test('fields that are left out have the defaults of their family', (t) => {
  t.like(modelConfigFromJson({ model_type: 'bert' }), { vocabSize: 30522, padTokenId: 0, layerNormEps: 1e-12 })
  t.like(modelConfigFromJson({ model_type: 'roberta' }), { vocabSize: 50265, padTokenId: 1 })
  t.like(modelConfigFromJson({ model_type: 'xlm-roberta' }), { vocabSize: 30522, padTokenId: 1 })
})

// The config.json of distilbert-base-uncased and of gpt2.
const distilBert = {
  activation: 'gelu',
  attention_dropout: 0.2,
  dim: 768,
  dropout: 0.3,
  hidden_dim: 3072,
  model_type: 'distilbert',
  n_heads: 12,
  n_layers: 6,
  seq_classif_dropout: 0.2,
  sinusoidal_pos_embds: false,
  vocab_size: 30522
}
const gpt2 = {
  activation_function: 'gelu_new',
  attn_pdrop: 0.2,
  embd_pdrop: 0.3,
  eos_token_id: 50256,
  layer_norm_epsilon: 1e-5,
  model_type: 'gpt2',
  n_ctx: 1024,
  n_embd: 768,
  n_head: 12,
  n_inner: null,
  n_layer: 12,
  n_positions: 1024,
  resid_pdrop: 0.4,
  vocab_size: 50257
}

test('families have names of their own for the same fields', (t) => {
  t.like(modelConfigFromJson(distilBert), {
    hiddenSize: 768,
    embeddingSize: 768,
    numHiddenLayers: 6,
    intermediateSize: 3072,
    hiddenDropoutProb: 0.3,
    embeddingDropoutProb: 0.3,
    attentionProbsDropoutProb: 0.2,
    typeVocabSize: 0,
    classifierDropout: 0
  })
  t.like(modelConfigFromJson(gpt2), {
    hiddenSize: 768,
    intermediateSize: 3072,
    maxPositionEmbeddings: 1024,
    hiddenDropoutProb: 0.4,
    embeddingDropoutProb: 0.3,
    attentionProbsDropoutProb: 0.2,
    padTokenId: -1,
    eosTokenId: 50256
  })
  t.like(modelConfigFromJson({ model_type: 'electra' }), { embeddingSize: 128, hiddenSize: 256, typeVocabSize: 2 })
  t.throws(() => modelConfigFromJson({ ...gpt2, n_head: 7 }), { message: /n_embd.*n_head 7/ })
  t.throws(() => modelConfigFromJson({ ...distilBert, dim: 0 }), { message: /dim: expected/ })
  for (const json of [distilBert, gpt2, { model_type: 'electra' }]) {
    const config = modelConfigFromJson(json)
    t.deepEqual(modelConfigFromJson({ ...config }), config)
    t.deepEqual(modelConfigFromJson(JSON.parse(JSON.stringify(modelConfigToJson(config)))), config)
  }
  t.is(modelConfigToJson(modelConfigFromJson(gpt2))['n_embd'], 768)
  t.false('pad_token_id' in modelConfigToJson(modelConfigFromJson(gpt2)))
  // Of what only Python reads nothing is lost, and nothing is made up.
  t.is(modelConfigToJson(modelConfigFromJson({ ...gpt2, bos_token_id: 2 }))['bos_token_id'], 2)
  const written = modelConfigToJson(modelConfigFromJson({ ...gpt2, classifier_dropout: null }))
  t.false('classifier_dropout' in written || 'bos_token_id' in written)
  t.is(modelConfigToJson(modelConfigFromJson({ ...gpt2, classifier_dropout: 0.2 }))['classifier_dropout'], 0.2)
})

test('camelCase reads the same, and what is written reads back', (t) => {
  const config = modelConfigFromJson(robertaBase)
  t.deepEqual(modelConfigFromJson({ ...config }), config)
  const json = modelConfigToJson(config, 'RobertaForMaskedLM')
  t.deepEqual(modelConfigFromJson(JSON.parse(JSON.stringify(json)) as object as Record<string, unknown>), config)
  t.is(json['layer_norm_eps'], 1e-5)
  t.deepEqual(json['architectures'], ['RobertaForMaskedLM'])
})

test('words that are not tied are written as such, and tied ones as nothing', (t) => {
  for (const model_type of ['distilbert', 'gpt2']) {
    const untied = modelConfigFromJson({ model_type, tie_word_embeddings: false })
    t.false(untied.tieWordEmbeddings)
    t.is(modelConfigToJson(untied)['tie_word_embeddings'], false)
    t.deepEqual(modelConfigFromJson(modelConfigToJson(untied)), untied)
    t.false('tie_word_embeddings' in modelConfigToJson(modelConfigFromJson({ model_type })))
  }
})

test('a field that changes the numbers in a way that is not built is refused by name', (t) => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ position_embedding_type: 'relative_key' }, /position_embedding_type .*relative positions.*expected absolute/],
    // Without a type transformers adds no positions.
    [{ position_embedding_type: null }, /position_embedding_type .*relative positions, or none.*got null/],
    [{ is_decoder: true }, /is_decoder .*causal attention/],
    [{ add_cross_attention: true }, /add_cross_attention/],
    [{ pruned_heads: { '0': [1] } }, /pruned_heads/],
    [{ quantization_config: { bits: 4 } }, /quantization_config/],
    [{ model_type: 'albert' }, /model_type .*bert, roberta, xlm-roberta, electra, distilbert, gpt2/],
    [{ model_type: 'electra', position_embedding_type: 'relative_key' }, /relative positions/],
    [{ model_type: 'gpt2', scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
    [{ model_type: 'gpt2', scale_attn_weights: false }, /scale_attn_weights/],
    [{ model_type: 'gpt2', scale_attn_weights: null }, /scale_attn_weights/]
  ]
  for (const [field, message] of cases) {
    t.throws(() => modelConfigFromJson({ ...robertaBase, ...field }), { code: 'ERR_UNSUPPORTED', message })
  }
  const none = { is_decoder: null, add_cross_attention: null, is_encoder_decoder: null, pruned_heads: null }
  t.notThrows(() => modelConfigFromJson({ ...robertaBase, ...none }))
})

test('impossible values are refused', (t) => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ hidden_act: 'gelu_neww' }, /Did you mean 'gelu_new'\?/],
    [{ hidden_size: 770 }, /770 cannot be divided by num_attention_heads 12/],
    [{ hidden_size: 1e12 }, /hidden_size: expected a positive integer up to/],
    [{ num_hidden_layers: 0 }, /num_hidden_layers: expected a positive integer/],
    [{ layer_norm_eps: '1e-5' }, /layer_norm_eps: expected a number/],
    [{ hidden_dropout_prob: 1.5 }, /hidden_dropout_prob/],
    [{ pad_token_id: 50265 }, /an id below vocab_size 50265/],
    [{ max_position_embeddings: 2 }, /more than 2/],
    [{ model_type: undefined }, /does not say what the model is/]
  ]
  for (const [field, message] of cases) t.throws(() => modelConfigFromJson({ ...robertaBase, ...field }), { message })
})
