import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { loadAddon } from '../../lib/native/addon.js'
import { scratch } from '../model/support.js'
import { fixtures } from '../parity/support/fixtures.js'

const open = (withHead: boolean) => AutoModel.fromPretrained(join(fixtures, 'models/gpt2-tiny'), { withHead })
const words = "prompt_tuning[prompt_length=2, combine='prefix_words']"

/** The task that the folder is for, what it is at, and the names of its tensors. */
async function written(model: Model, name: string, folder: string, withHead = true) {
  await model.saveAdapter(folder, name, { library: 'peft', withHead })
  const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
  const tensors = await loadAddon().readWeights(join(folder, 'adapter_model.safetensors'))
  return { task: config.task_type, targets: config.target_modules, names: tensors.map((tensor) => tensor.name).sort() }
}

test('where the words of GPT2LMHeadModel answer, the folder is for that class, under its names', async (t) => {
  using model = await open(true)
  const at = (folder: string) => join(scratch(t), folder)
  model.addAdapter('style', "lora[attn_matrices=['q', 'v', 'o'], intermediate_lora=True, output_lora=True]")
  model.trainAdapter('style')
  const lora = await written(model, 'style', at('style'))
  t.is(lora.task, 'CAUSAL_LM')
  t.deepEqual(
    lora.names.filter((name) => !/^base_model\.model\.transformer\.h\.\d\..*\.lora_[AB]\.weight$/.test(name)),
    []
  )
  t.is(lora.names.length, 2 * 4 * model.config.numHiddenLayers)
  model.addAdapter('one', "lora[attn_matrices=['qkv'], leave_out=[0]]")
  const one = await written(model, 'one', at('one'))
  t.deepEqual(one.targets, ['transformer.h.1.attn.c_attn'])
  model.addAdapter('prompt', words)
  t.like(await written(model, 'prompt', at('prompt')), { task: 'CAUSAL_LM', names: ['prompt_embeddings'] })
  // Alone it is for the base model, and so is one that another head answers for.
  const alone = await written(model, 'one', at('alone'), false)
  t.like(alone, { task: 'FEATURE_EXTRACTION', targets: ['h.1.attn.c_attn'] })
  model.addClassificationHead('labels', { numLabels: 2, layers: 1, bias: false })
  t.is((await written(model, 'one', at('labels'))).task, 'FEATURE_EXTRACTION')
})

test('a folder of such a class stays one, whatever the model answers with', async (t) => {
  using model = await open(true)
  const folder = join(scratch(t), 'one')
  model.addAdapter('one', 'lora')
  const first = await written(model, 'one', folder)
  using bare = await open(false)
  t.is(await bare.loadAdapter(folder), 'one')
  t.deepEqual(await written(bare, 'one', join(scratch(t), 'again')), first)
  // Also of the layers that are left, and not another adapter that takes its name.
  await bare.loadAdapter(folder, { as: 'less', leaveOut: [0] })
  t.is((await written(bare, 'less', join(scratch(t), 'less'))).task, 'CAUSAL_LM')
  bare.addAdapter('one', 'lora', { overwriteOk: true })
  t.is((await written(bare, 'one', join(scratch(t), 'other'))).task, 'FEATURE_EXTRACTION')
})

test('words that learned are a head with an output layer of its own', async (t) => {
  using model = await open(false)
  await model.loadAdapter(join(fixtures, 'peft/gpt2-words'), { as: 'own' })
  t.like(model.heads.get('own'), { headType: 'causal_lm', layers: 1, bias: false, tied: false })
  t.true(model.namedParameters().some(({ name }) => name === 'heads.own.0.weight'))
  const rows = [{ inputIds: [5, 6, 7] }]
  const options = { adapters: 'own', maxNewTokens: 8, eosTokenId: null }
  const own = await model.generate(rows, { ...options, head: 'own' })
  t.notDeepEqual(own[0]?.ids, (await model.generate(rows, { ...options, head: null }))[0]?.ids)
})

test('such a layer starts as the word embedding and learns without it', async (t) => {
  using model = await open(false)
  model.addCausalLmHead('tied', { layers: 1, bias: false })
  model.addCausalLmHead('own', { layers: 1, bias: false, tied: false })
  const inputs = { inputIds: [[5, 6, 7, 8]], labels: [[5, 6, 7, 8]] }
  const logits = async (head: string) => (await model.forward(inputs, { adapters: null, head })).logits?.data
  t.deepEqual(await logits('own'), await logits('tied'))
  model.trainHead('own')
  const { gradients } = await model.gradients(inputs, { adapters: null, head: 'own' })
  t.deepEqual([...gradients.keys()], ['heads.own.0.weight'])
  const folder = scratch(t)
  await model.saveHead(folder, 'own')
  t.is(await model.loadHead(folder, { as: 'again' }), 'again')
  t.deepEqual(model.heads.get('again'), model.heads.get('own'))
  t.deepEqual(await logits('again'), await logits('own'))
  // Python's adapters has no such head in a model whose words are tied, and fails at a field that it does not know.
  t.is(JSON.parse(readFileSync(join(folder, 'head_config.json'), 'utf8')).config.tied, false)
})
