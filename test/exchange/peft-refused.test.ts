import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { editTensors, floats, writeTensors } from '../model/safetensors-file.js'
import { changed, folderOf, open, scratch } from './peft-folders.js'

test('what one library has and the other has not is refused with the way out', async (t) => {
  using model = await open('bert-tiny')
  const folder = scratch(t)
  const hub = async (config: string, message: RegExp) => {
    model.addAdapter('a', config, { overwriteOk: true })
    await t.throwsAsync(model.saveAdapter(folder, 'a'), { code: 'ERR_UNSUPPORTED', message })
  }
  await hub("lora[use_dora='peft']", /the adapter library has no useDora: 'peft'.*library: 'peft'/s)
  await hub("lora[attn_matrices=['q', 'o']]", /no attnMatrices with 'o'/)
  await hub("lora[r=1, composition_mode='scale_input']", /no compositionMode: 'scale_input'/)
  // Python's forward: "mat1 and mat2 shapes cannot be multiplied", as one pair of matrices serves all Linears.
  for (const more of ['intermediate_lora=True', 'output_lora=True', 'leave_out=[0], intermediate_lora=True']) {
    await hub(`vera[${more}]`, /no VeRA at Linears of different sizes.*library: 'peft'/s)
  }
  await hub('vera[alpha=16, output_lora=True]', /no VeRA at Linears of different sizes.*PEFT does not have it either/s)
  await t.throwsAsync(model.save(join(folder, 'whole')), { message: /no VeRA at Linears of different sizes/ })
  for (const one of ['intermediate_lora=True', 'output_lora=True']) {
    model.addAdapter('a', `vera[selfattn_lora=False, ${one}]`, { overwriteOk: true })
    await t.notThrowsAsync(model.saveAdapter(join(folder, 'one'), 'a'))
  }
  const peft = async (config: string, message: RegExp) => {
    model.addAdapter('a', config, { overwriteOk: true })
    await t.throwsAsync(model.saveAdapter(folder, 'a', { library: 'peft' }), { code: 'ERR_UNSUPPORTED', message })
  }
  await peft('seq_bn', /PEFT does not compute the method 'bottleneck'.*library: 'adapters'/s)
  await peft('dora', /DoRA as the adapter library does.*useDora: 'peft'/s)
  await peft('dvora', /DoRA as the adapter library does/)
  await peft('mtl_lora', /the method 'mtl_lora'/)
  await peft('lora[use_gating=True]', /a gate/)
  await peft('vera[alpha=16]', /VeRA with a scale.*Give it alpha: 8/s)
  model.addAdapter('a', 'lora', { overwriteOk: true })
  await t.throwsAsync(model.saveAdapter(folder, 'a', { library: 'peft', format: 'pt' }), { message: /not 'pt'/ })
  await t.throwsAsync(model.saveAdapter(folder, 'a', { library: 'peft', dialect: 'plain' }), { message: /dialect/ })
  await t.throwsAsync(model.saveAdapter(folder, 'a', { library: 'pefd' as 'peft' }), { message: /library/ })
  model.addClassificationHead('a', { layers: 3 })
  await t.throwsAsync(model.saveAdapter(folder, 'a', { library: 'peft' }), {
    message:
      /BertForSequenceClassification has no head like 'a' \(expected \{"layers":1,.*got \{"layers":3,.*withHead: false/s
  })
  using gpt2 = await open('gpt2-tiny')
  gpt2.addAdapter('a', 'lora')
  gpt2.addClassificationHead('a')
  const [expected, got] = [
    '{"layers":1,"activationFunction":null,"bias":false}',
    '{"layers":2,"activationFunction":"tanh","bias":true}'
  ]
  const error = await t.throwsAsync(gpt2.saveAdapter(folder, 'a', { library: 'peft' }))
  t.true(error?.message.includes(`(expected ${expected}, got ${got})`), error?.message)
})

test('LoRA at the pooler is part of the head: the first layer of one, or left out with it', async (t) => {
  using model = await open('bert-tiny')
  const linear = folderOf('bert-linear')
  await model.loadAdapter(linear, { as: 'whole' })
  t.like(model.heads.get('whole'), { layers: 2, numLabels: 3, usePooler: false, activationFunction: 'tanh' })
  t.false(model.namedParameters().some(({ name }) => name.includes('pooler') && name.includes('lora')))
  await model.loadAdapter(linear, { as: 'alone', withHead: false })
  t.deepEqual(model.adapters.get('alone'), model.adapters.get('whole'))
  t.false(model.heads.has('alone'))
  // Written back, the pooler stands whole in modules_to_save, where PEFT computes the same.
  const again = scratch(t)
  await model.saveAdapter(again, 'whole', { library: 'peft' })
  const { modules_to_save, target_modules } = JSON.parse(readFileSync(join(again, 'adapter_config.json'), 'utf8'))
  t.deepEqual(modules_to_save, ['pooler', 'classifier'])
  t.false(target_modules.some((name: string) => name.includes('pooler')))

  // What has no class has no head that would read it.
  const bare = changed(t, 'bert-linear', { task_type: 'TOKEN_CLS' })
  await t.throwsAsync(model.loadAdapter(bare, { as: 'bare' }), { code: 'ERR_UNSUPPORTED', message: /withHead: false/ })
  t.false(model.adapters.has('bare'))
})

test('an adapter at a Linear of a head is refused: no folder of PEFT has its weights', async (t) => {
  using model = await open('distilbert-tiny')
  const folder = join(scratch(t), 'linear')
  cpSync(folderOf('distilbert-vera'), folder, { recursive: true })
  editTensors(join(folder, 'adapter_model.safetensors'), (tensors) => {
    tensors.set('base_model.model.pre_classifier.vera_lambda_b', floats([1, 1]))
  })
  await t.throwsAsync(model.loadAdapter(folder), {
    code: 'ERR_UNSUPPORTED',
    message: /an adapter at pre_classifier, and not its weights.*at random.*\['pre_classifier', 'classifier'\]/s
  })
  t.deepEqual([...model.adapters.keys(), ...model.heads.keys()], [])
})

test('a folder with an adapter where none has a place is of this model all the same, and told what to do', async (t) => {
  using model = await open('bert-tiny')
  for (const [module, problem] of [
    [
      'bert.embeddings.word_embeddings',
      /no place for an adapter at bert\.embeddings\.word_embeddings.*merge it in Python/s
    ],
    ['qa_outputs', /an adapter at qa_outputs, and not its weights/]
  ] as const) {
    const folder = changed(t, 'bert-regex-rslora', { target_modules: [module], task_type: null })
    const tensors = [['lora_A', floats([0, 0], [2, 1])] as const, ['lora_B', floats([0, 0], [1, 2])] as const]
    writeTensors(
      join(folder, 'adapter_model.safetensors'),
      new Map(tensors.map(([part, tensor]) => [`base_model.model.${module}.${part}.weight`, tensor]))
    )
    await t.throwsAsync(model.loadAdapter(folder), { code: 'ERR_UNSUPPORTED', message: problem })
  }
})

test('a folder of another model, or with a module that has no place, is refused by name', async (t) => {
  using roberta = await open('roberta-tiny')
  await t.throwsAsync(roberta.loadAdapter(folderOf('bert-regex-rslora')), {
    code: 'ERR_WRONG_MODEL',
    message: /belongs to another model.*bert\.encoder\.layer\.0\.attention.*trained on bert-tiny/s
  })
  using gpt2 = await open('gpt2-tiny')
  await t.throwsAsync(gpt2.loadAdapter(folderOf('bert-regex-rslora')), { code: 'ERR_WRONG_MODEL', message: /gpt2/ })
  t.deepEqual([...roberta.adapters.keys(), ...roberta.heads.keys()], [])
})

test('a folder that names a class of another family is refused, though names and shapes would fit', async (t) => {
  using bert = await open('bert-tiny')
  bert.addAdapter('l', 'lora')
  const folder = scratch(t)
  await bert.saveAdapter(folder, 'l', { library: 'peft' })
  const file = join(folder, 'adapter_config.json')
  const saved = JSON.parse(readFileSync(file, 'utf8'))
  // PEFT names the class only where there is no task type, and passes it over beside one.
  t.is(saved.task_type, 'FEATURE_EXTRACTION')
  t.deepEqual(saved.auto_mapping, {
    ...{ base_model_class: 'BertModel', parent_library: 'transformers.models.bert.modeling_bert' }
  })
  using other = await open('roberta-tiny')
  await t.throwsAsync(other.loadAdapter(folder), { code: 'ERR_WRONG_MODEL', message: /base_model_class BertModel/ })
  bert.addTaggingHead('l', { numLabels: 2 })
  const tagger = scratch(t)
  await bert.saveAdapter(tagger, 'l', { library: 'peft' })
  t.like(JSON.parse(readFileSync(join(tagger, 'adapter_config.json'), 'utf8')), {
    ...{ task_type: 'TOKEN_CLS', auto_mapping: { base_model_class: 'BertForTokenClassification' } }
  })
  await t.throwsAsync(other.loadAdapter(tagger), { code: 'ERR_WRONG_MODEL', message: /BertForTokenClassification/ })
  const of = (base_model_class: string, parent_library?: string) => {
    writeFileSync(
      file,
      JSON.stringify({ ...saved, task_type: null, auto_mapping: { base_model_class, parent_library } })
    )
    return folder
  }
  // Images have no task type without a head, either.
  using vit = await open('vit-tiny')
  vit.addAdapter('l', 'lora')
  const images = scratch(t)
  await vit.saveAdapter(images, 'l', { library: 'peft' })
  t.like(JSON.parse(readFileSync(join(images, 'adapter_config.json'), 'utf8')), {
    task_type: null,
    auto_mapping: { base_model_class: 'ViTModel', parent_library: 'transformers.models.vit.modeling_vit' }
  })
  t.is(await vit.loadAdapter(images, { as: 'again' }), 'again')
  const library = (type: string) => `transformers.models.${type}.modeling_${type}`
  using roberta = await open('roberta-tiny')
  for (const [base, parent] of [
    ['BertModel', library('bert')],
    ['BertModel'],
    ['XLMRobertaModel'],
    ['My', library('t5')]
  ]) {
    await t.throwsAsync(roberta.loadAdapter(of(base ?? '', parent)), {
      code: 'ERR_WRONG_MODEL',
      message: new RegExp(
        `expected a class of roberta, such as RobertaModel, got base_model_class ${base}\\)\\. Load it into`
      )
    })
  }
  t.deepEqual([...roberta.adapters.keys()], [])
  await bert.loadAdapter(of('BertModel', library('bert')), { as: 'a' })
  await bert.loadAdapter(of('BertForMaskedLM'), { as: 'b' })
  await roberta.loadAdapter(of('MyEncoder', 'my.own'), { as: 'c' })
  await roberta.loadAdapter(of('RobertaModel', library('roberta')), { as: 'd' })
})

test('config and weights must speak of the same modules', async (t) => {
  using model = await open('bert-tiny')
  const refuses = async (name: string, fields: object, message: RegExp, code = 'ERR_UNSUPPORTED') => {
    await t.throwsAsync(model.loadAdapter(changed(t, name, fields)), { code, message })
    t.deepEqual([...model.adapters.keys(), ...model.heads.keys()], [])
  }
  const regex = 'bert-regex-rslora'
  await refuses(
    regex,
    { target_modules: ['query'] },
    /unexpected bert\.encoder\.layer\.0\.attention\.output\.dense/,
    'ERR_STATE_DICT'
  )
  await refuses(
    regex,
    { target_modules: '.*query|.*key|.*attention.output.dense' },
    /missing .*self\.key/,
    'ERR_STATE_DICT'
  )
  await refuses(regex, { r: 3 }, /wrong shape .*lora_A\.weight: expected \[3, 32\], got \[2, 32\]/, 'ERR_STATE_DICT')
  await refuses(regex, { use_dora: true }, /missing .*lora_magnitude_vector/, 'ERR_STATE_DICT')
  await refuses(
    regex,
    { target_modules: '(((a+)+)+)+[^x]*\\d\\d' },
    /missing|unexpected|regular expression/,
    'ERR_STATE_DICT'
  )
  await refuses(regex, { target_modules: '(?(1)a|b)' }, /JavaScript cannot read it/)
  await refuses(regex, { bias: 'lora_only' }, /bias 'lora_only'.*merge/s)
  await refuses(regex, { lora_bias: true }, /the field lora_bias/)
  await refuses(regex, { something_new: { a: 1 } }, /the field something_new/)
  await refuses(regex, { init_lora_weights: 'pissa_niter_4' }, /changed the base model/)
  await refuses(regex, { peft_type: 'LOHA' }, /PEFT's method 'LOHA'/)
  await refuses(
    regex,
    { modules_to_save: ['score'], task_type: null },
    /unexpected 'base_model\.model\.classifier/,
    'ERR_STATE_DICT'
  )
  await refuses(regex, { task_type: null }, /a class that it does not name/)
  await refuses(regex, { r: 'many' }, /adapter_config\.json: r/, 'ERR_INVALID_FILE')
})

test('for a task PEFT stores the classifier whole, whether modules_to_save names it or not', async (t) => {
  using model = await open('bert-tiny')
  await model.loadAdapter(folderOf('bert-regex-rslora'), { as: 'named' })
  const old = changed(t, 'bert-regex-rslora', { modules_to_save: null })
  await model.loadAdapter(old, { as: 'old' })
  t.deepEqual(model.heads.get('old'), model.heads.get('named'))
  const rows = { inputIds: [[2, 3, 4]] }
  const [one, other] = [
    await model.forward(rows, { adapters: 'named' }),
    await model.forward(rows, { adapters: 'old' })
  ]
  t.truthy(one.logits)
  t.deepEqual(other.logits, one.logits)
  await model.loadAdapter(old, { as: 'alone', withHead: false })
  t.false(model.heads.has('alone'))
})

test('without its head a folder needs no class', async (t) => {
  using model = await open('bert-tiny')
  const folder = changed(t, 'bert-regex-rslora', { task_type: null })
  t.is(await model.loadAdapter(folder, { withHead: false }), 'bert-regex-rslora')
  t.deepEqual([...model.heads.keys()], [])
  const mapped = changed(t, 'bert-regex-rslora', {
    ...{ task_type: null, auto_mapping: { base_model_class: 'BertForSequenceClassification' } }
  })
  await model.loadAdapter(mapped, { as: 'mapped' })
  t.true(model.heads.has('mapped'))
})

/** The same folder with other tensors, by their names below `base_model.model.`. */
function withTensors(folder: string, change: Readonly<Record<string, readonly number[] | null>>): string {
  editTensors(join(folder, 'adapter_model.safetensors'), (tensors) => {
    for (const [path, shape] of Object.entries(change)) {
      const name = `base_model.model.${path}`
      const size = shape?.reduce((a, b) => a * b) ?? 0
      if (shape === null) tensors.delete(name)
      else
        tensors.set(
          name,
          floats(
            Array.from({ length: size }, (_, i) => Math.sin(i)),
            shape
          )
        )
    }
  })
  return folder
}

test('a head of words that was stored whole is an output layer of its own', async (t) => {
  using model = await open('bert-tiny')
  const { hiddenSize: width, vocabSize: words } = model.config
  const folder = withTensors(
    changed(t, 'bert-regex-rslora', {
      ...{ task_type: null, modules_to_save: ['cls'], auto_mapping: { base_model_class: 'BertForMaskedLM' } }
    }),
    {
      ...{ 'classifier.weight': null, 'classifier.bias': null },
      ...{ 'cls.predictions.decoder.weight': [words, width], 'cls.predictions.decoder.bias': [words] },
      ...{ 'cls.predictions.bias': [words], 'cls.predictions.transform.dense.weight': [width, width] },
      ...{ 'cls.predictions.transform.dense.bias': [width], 'cls.predictions.transform.LayerNorm.weight': [width] },
      ...{ 'cls.predictions.transform.LayerNorm.bias': [width] }
    }
  )
  await model.loadAdapter(folder, { as: 'x' })
  t.like(model.heads.get('x'), { headType: 'masked_lm', tied: false })
  const { logits } = await model.forward({ inputIds: [[2, 3, 4]] }, { adapters: 'x' })
  t.deepEqual(logits?.shape, [1, 3, words])
})

test('ends of an answer and choices go to folders of their classes and back', async (t) => {
  using model = await open('bert-tiny')
  model.addAdapter('ends', 'lora')
  model.addQuestionAnsweringHead('ends', { layers: 1 })
  model.addAdapter('choices', 'lora')
  model.addMultipleChoiceHead('choices', { layers: 1, usePooler: true, numChoices: 4 })
  const written = {
    ends: { task_type: 'QUESTION_ANS', modules_to_save: ['qa_outputs'] },
    choices: {
      ...{ task_type: null, modules_to_save: ['classifier'] },
      auto_mapping: {
        base_model_class: 'BertForMultipleChoice',
        parent_library: 'transformers.models.bert.modeling_bert'
      }
    }
  }
  for (const [name, fields] of Object.entries(written)) {
    const folder = scratch(t)
    await model.saveAdapter(folder, name, { library: 'peft' })
    t.like(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')), fields)
    await model.loadAdapter(folder, { as: 'again', overwriteOk: true })
    t.is(model.heads.get('again')?.headType, model.heads.get(name)?.headType)
    const rows = { inputIds: [[2, 3, 4], [5]], ...(name === 'choices' && { choices: [2] }) }
    t.deepEqual(await model.forward(rows, { adapters: 'again' }), await model.forward(rows, { adapters: name }))
  }
})

test('what of the base model was stored whole is refused by name, also without the head', async (t) => {
  using model = await open('bert-tiny')
  const { hiddenSize, vocabSize } = model.config
  const folder = withTensors(changed(t, 'bert-regex-rslora', { modules_to_save: ['word_embeddings', 'classifier'] }), {
    'bert.embeddings.word_embeddings.weight': [vocabSize, hiddenSize]
  })
  for (const withHead of [true, false])
    await t.throwsAsync(model.loadAdapter(folder, { withHead }), {
      code: 'ERR_UNSUPPORTED',
      message: /stores bert\.embeddings\.word_embeddings of the base model whole.*merge_and_unload/s
    })
})

test('modules_to_save names ends of names, as in PEFT', async (t) => {
  using electra = await open('electra-tiny')
  const { embeddingSize, vocabSize } = electra.config
  const words = withTensors(
    changed(t, 'electra-tokens', {
      ...{ task_type: null, modules_to_save: ['lm_head'], auto_mapping: { base_model_class: 'ElectraForMaskedLM' } }
    }),
    {
      ...{ 'classifier.weight': null, 'classifier.bias': null },
      ...{ 'generator_lm_head.weight': [vocabSize, embeddingSize], 'generator_lm_head.bias': [vocabSize] }
    }
  )
  await t.throwsAsync(electra.loadAdapter(words), {
    code: 'ERR_UNSUPPORTED',
    message: /it holds generator_lm_head, and the head of ElectraForMaskedLM is generator_predictions\.dense/
  })
  using model = await open('distilbert-tiny')
  await model.loadAdapter(changed(t, 'distilbert-vera', { modules_to_save: ['classifier'] }), { as: 'short' })
  await model.loadAdapter(folderOf('distilbert-vera'), { as: 'long' })
  t.deepEqual(model.heads.get('short'), model.heads.get('long'))
})

test('DistilBERT needs both layers of its head', async (t) => {
  using model = await open('distilbert-tiny')
  const folder = withTensors(changed(t, 'distilbert-vera', {}), {
    ...{ 'pre_classifier.weight': null, 'pre_classifier.bias': null }
  })
  await t.throwsAsync(model.loadAdapter(folder), {
    message: /the head of DistilBertForSequenceClassification is pre_cl/
  })
  const projected = changed(t, 'distilbert-vera', { save_projection: false })
  await t.throwsAsync(model.loadAdapter(projected), { message: /save_projection=True/ })
})
