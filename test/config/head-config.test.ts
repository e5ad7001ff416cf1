import test from 'ava'
import { dependencyParsingHead, multipleChoiceHead, questionAnsweringHead } from '../../lib/config/choice-heads.js'
import * as heads from '../../lib/config/head-config.js'

const model = { vocabSize: 100, embeddingSize: 32 }

// Key sets and defaults of adapters 1.3.0, heads/base.py and heads/language_modeling.py.
test('classification as the library writes it', (t) => {
  const head = heads.classificationHead({ numLabels: 3, labels: ['no', 'maybe', 'yes'] })
  t.deepEqual(heads.headConfigToJson(head, model), {
    head_type: 'classification',
    num_labels: 3,
    layers: 2,
    activation_function: 'tanh',
    label2id: { no: 0, maybe: 1, yes: 2 },
    use_pooler: false,
    bias: true,
    dropout_prob: null
  })
})

test('tagging and masked language modelling as the library writes them', (t) => {
  t.deepEqual(heads.headConfigToJson(heads.taggingHead({ numLabels: 5 }), model), {
    head_type: 'tagging',
    num_labels: 5,
    layers: 1,
    activation_function: 'tanh',
    label2id: { LABEL_0: 0, LABEL_1: 1, LABEL_2: 2, LABEL_3: 3, LABEL_4: 4 },
    dropout_prob: null
  })
  t.deepEqual(heads.headConfigToJson(heads.maskedLmHead(), model), {
    head_type: 'masked_lm',
    vocab_size: 100,
    embedding_size: 32,
    layers: 2,
    activation_function: 'gelu',
    layer_norm: true,
    bias: true,
    shift_labels: false,
    label2id: null
  })
})

test('causal language modelling as the library writes it', (t) => {
  t.deepEqual(heads.headConfigToJson(heads.causalLmHead(), model), {
    head_type: 'causal_lm',
    vocab_size: 100,
    embedding_size: 32,
    layers: 2,
    activation_function: 'gelu',
    layer_norm: true,
    bias: true,
    shift_labels: true,
    label2id: null,
    dropout_prob: null
  })
  // What the class itself starts from, where a file says no more: the word embedding alone.
  t.deepEqual(
    heads.headConfigFromJson({ head_type: 'causal_lm' }),
    heads.causalLmHead({ layers: 1, activationFunction: null, layerNorm: false, bias: false })
  )
  t.throws(() => heads.headConfigFromJson({ head_type: 'causal_lm', shift_labels: false }), { code: 'ERR_UNSUPPORTED' })
})

test('every head survives its own file', (t) => {
  const all = [
    heads.classificationHead({ layers: 1, usePooler: true, bias: false, dropoutProb: 0.5, activationFunction: null }),
    heads.regressionHead(),
    heads.multiLabelHead({ id2label: { 0: 'a', 1: 'b', 2: 'c' } }),
    heads.taggingHead({ label2id: { O: 0, B: 1 } }),
    heads.maskedLmHead({ activationFunction: 'relu' }),
    heads.causalLmHead(),
    heads.causalLmHead({ layers: 1, activationFunction: null, layerNorm: false, bias: false })
  ]
  for (const head of all) {
    const json = JSON.parse(JSON.stringify(heads.headConfigToJson(head, model)))
    t.deepEqual(heads.headConfigFromJson(json), head)
  }
})

test('old files lack fields', (t) => {
  const json = { head_type: 'classification', num_labels: 2, layers: 2, activation_function: 'tanh', label2id: null }
  t.deepEqual(heads.headConfigFromJson(json), heads.classificationHead())
})

test('names that say nothing are no names', (t) => {
  t.is(heads.classificationHead({ labels: ['LABEL_0', 'LABEL_1'] }).label2id, null)
  t.deepEqual(heads.classificationHead({ labels: ['LABEL_1', 'LABEL_0'] }).label2id, { LABEL_1: 0, LABEL_0: 1 })
})

test('regression is one output', (t) => {
  t.is(heads.regressionHead().numLabels, 1)
  t.throws(() => heads.classificationHead({ multilabel: true } as never), {
    message: /addMultiLabelClassificationHead/
  })
  t.throws(() => heads.regressionHead({ numLabels: 2 } as never), { message: /unknown option 'numLabels'/ })
})

test('label names', (t) => {
  t.deepEqual(heads.labelNames(heads.classificationHead({ numLabels: 3, label2id: { b: 1 } })), [
    'LABEL_0',
    'b',
    'LABEL_2'
  ])
  t.deepEqual(heads.labelNames(heads.maskedLmHead()), [])
  // By their ids, wherever they stand.
  t.deepEqual(heads.labelNames(multipleChoiceHead({ label2id: { b: 1, a: 0 } })), ['a', 'b'])
})

test('several ids may have one name, in every head with labels', (t) => {
  const id2label = { 1: 'x', 0: 'x', 2: 'y' }
  for (const head of [
    heads.classificationHead({ id2label }),
    heads.multiLabelHead({ id2label }),
    heads.imageClassificationHead({ id2label }),
    heads.taggingHead({ id2label }),
    dependencyParsingHead({ id2label }),
    multipleChoiceHead({ id2label })
  ]) {
    t.deepEqual(heads.labelNames(head), ['x', 'x', 'y'], head.headType)
    t.like(head, { label2id: { x: 1, y: 2 }, id2label }, head.headType)
    const json = JSON.parse(JSON.stringify(heads.headConfigToJson(head, { vocabSize: 9, embeddingSize: 4 })))
    t.deepEqual(heads.headConfigFromJson(json), head)
  }
  t.false('id2label' in heads.taggingHead({ id2label: { 0: 'x', 1: 'y' } }))
  t.throws(() => heads.taggingHead({ id2label: { 0: 'x', 5: 'x', 2: 'y' } }), { message: /the id of label 'x': / })
})

test('ids that a file has as texts are ids, for every head with labels', (t) => {
  // What Python makes of an id2label from JSON: add_classification_head('x', id2label={'0': 'x', '1': 'y'}).
  const label2id = { x: '0', y: '1' }
  const ids = { x: 0, y: 1 }
  for (const type of ['classification', 'multilabel_classification', 'tagging', 'dependency_parsing']) {
    t.like(heads.headConfigFromJson({ head_type: type, num_labels: 2, label2id }), { label2id: ids }, type)
  }
  t.like(heads.headConfigFromJson({ head_type: 'multiple_choice', num_choices: 2, label2id }), { label2id: ids })
  for (const id of ['', ' 1', '1.0', '-1', 'one', true])
    t.throws(() => heads.headConfigFromJson({ head_type: 'tagging', label2id: { x: 0, y: id } }), {
      message: `label2id['y']: expected an integer from 0, got ${typeof id === 'string' ? `'${id}'` : 'true (a boolean)'}`
    })
  t.throws(() => heads.headConfigFromJson({ head_type: 'tagging', num_labels: 2, label2id: { x: '0', y: '2' } }), {
    message: /the id of label 'y': expected an integer from 0 up to 1, got 2/
  })
})

test('wrong heads are refused', (t) => {
  for (const numLabels of [0, 1e9]) {
    const message = `numLabels: expected a positive integer up to 1000000, got ${numLabels} (a number)`
    t.throws(() => heads.classificationHead({ numLabels }), { message })
  }
  t.throws(() => multipleChoiceHead({ numChoices: 1e9 }), { message: /^numChoices: .*up to 1000000, got 1000000000 / })
  t.throws(() => multipleChoiceHead({ numChoices: 3, labels: ['a', 'b'] }), { message: /^numChoices: expected 2, as/ })
  for (const numLabels of [2, 4]) {
    t.throws(() => heads.taggingHead({ numLabels, labels: ['a', 'b', 'c'] }), {
      instanceOf: RangeError,
      message: `numLabels: expected 3, as there are labels, or none, got ${numLabels} (a number)`
    })
  }
  t.is(heads.classificationHead({ numLabels: 3, labels: ['a', 'b', 'c'] }).numLabels, 3)
  t.throws(() => heads.classificationHead({ labels: ['a', 'a'] }), { message: /same label is there twice/ })
  t.throws(() => heads.classificationHead({ numLabels: 3, label2id: { a: 1, b: 1 } }), { message: /two labels have/ })
  t.throws(() => heads.classificationHead({ layer: 2 } as never), { message: /Did you mean 'layers'\?/ })
  t.throws(() => heads.taggingHead({ usePooler: true } as never), { message: /unknown option 'usePooler'/ })
  t.throws(() => heads.classificationHead({ layers: 1e9 }), { message: /up to 16/ })
  t.throws(() => heads.headConfigFromJson({ head_type: 'seq2seq_lm' }), { code: 'ERR_UNSUPPORTED' })
  t.throws(() => heads.headConfigFromJson({ head_type: 'question_answering', num_labels: 3 }), {
    message: /num_labels/
  })
  const causal = { head_type: 'masked_lm', shift_labels: true }
  t.throws(() => heads.headConfigFromJson(causal), { code: 'ERR_UNSUPPORTED', message: /shift_labels true/ })
})

test('heads that choose: Python’s dicts, both ways', (t) => {
  const model = { vocabSize: 9, embeddingSize: 4 }
  const labels = { LABEL_0: 0, LABEL_1: 1 }
  const dicts = [
    {
      ...{ head_type: 'question_answering', num_labels: 2, layers: 1, activation_function: 'tanh', label2id: labels },
      dropout_prob: null
    },
    {
      ...{ head_type: 'multiple_choice', num_choices: 2, layers: 2, activation_function: 'tanh', label2id: labels },
      ...{ use_pooler: false, dropout_prob: null }
    },
    { head_type: 'dependency_parsing', num_labels: 2, label2id: { det: 0, root: 1 } }
  ]
  const made = [questionAnsweringHead(), multipleChoiceHead(), dependencyParsingHead({ labels: ['det', 'root'] })]
  dicts.forEach((dict, i) => {
    t.deepEqual(heads.headConfigFromJson(dict), made[i] as heads.HeadConfig)
    t.deepEqual(heads.headConfigToJson(made[i] as heads.HeadConfig, model), dict)
  })
  t.throws(() => questionAnsweringHead({ numLabels: 2 } as never), { message: /unknown option 'numLabels'/ })
})

test('an output layer of its own is said by the model where its words are not tied, else by the head', (t) => {
  const own = heads.causalLmHead({ tied: false })
  t.is(heads.headConfigToJson(own, model)['tied'], false)
  const json = heads.headConfigToJson(own, { ...model, tieWordEmbeddings: false })
  t.false('tied' in json)
  const read = heads.headConfigFromJson(json)
  t.deepEqual(heads.headInModel(read, { tieWordEmbeddings: false }), own)
  t.deepEqual(heads.headInModel(read, { tieWordEmbeddings: true }), heads.causalLmHead())
})

test('what the core takes', (t) => {
  t.deepEqual(heads.nativeHeadConfig(heads.taggingHead({ numLabels: 5, dropoutProb: 0.1 })), {
    head_type: 'tagging',
    num_labels: 5,
    layers: 1,
    activation_function: 'tanh',
    use_pooler: false,
    bias: true,
    layer_norm: true,
    tied: true,
    dropout_prob: 0.1
  })
})
