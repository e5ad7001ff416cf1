import test from 'ava'
import { exportedModelConfig, readExportNote } from '../../lib/config/exported-config.js'

const facts = {
  ...{
    type: 'SwinModel',
    hidden: 16,
    outputSize: 16,
    layers: 1,
    vocabulary: 0,
    longestRow: 0,
    rowTokens: 4,
    isCausal: false
  },
  ...{
    lengthText: '',
    tokensText: '',
    hasDecoder: false,
    outputs: ['last_hidden_state'],
    keyFeatures: 0,
    keyHeads: 1,
    prefix: ''
  },
  ...{ topLevel: ['encoder'], inputs: ['pixel_values'], image: [3, 8, 8], linears: [], unclearLinears: {} },
  ...{ explanation: [], sites: [], extra: {}, ownLabels: 0, ownHeadReadsRows: false, ownHeadGivesSpans: false }
}

test('what a config has as a list, a value for each stage, is none of the whole network', (t) => {
  const config = { num_heads: [2, 4], depths: [1, 1], hidden_dropout_prob: 0.25, layer_norm_eps: 1e-6 }
  const read = exportedModelConfig(facts, readExportNote({ class: 'SwinModel', model_type: 'swin', config }), 'x.pt2')
  t.deepEqual([read.numAttentionHeads, read.hiddenDropoutProb, read.layerNormEps], [1, 0.25, 1e-6])
  t.throws(() => exportedModelConfig(facts, readExportNote({ config: { num_heads: 'two' } }), 'x.pt2'), {
    message: /num_heads/
  })
})

test("a family's activation is that of its config, under the name that it has there", (t) => {
  const read = (type: string, config: object) =>
    exportedModelConfig(facts, readExportNote({ class: 'XModel', model_type: type, config }), 'x.pt2').hiddenAct
  t.is(read('bert', { hidden_act: 'relu' }), 'relu')
  t.is(read('distilbert', { activation: 'silu', hidden_act: 'relu' }), 'silu')
  t.is(read('bert', {}), 'gelu')
  // No activation of ours: nothing that a pass depends on.
  t.is(read('swin', { hidden_act: 'my_own' }), 'gelu')
})

test("whether a class takes inputs_embeds is told by the archive, or by the class's name", (t) => {
  const read = (note: object) => exportedModelConfig(facts, readExportNote({ ...note }), 'x.pt2').exported?.takesEmbeds
  t.false(read({ class: 'SiglipTextModel' }))
  t.true(read({ class: 'Gemma3TextModel' }))
  t.true(read({ class: 'CLIPTextModel', takes_inputs_embeds: true }))
  t.false(read({ class: 'BertModel', takes_inputs_embeds: false }))
})
