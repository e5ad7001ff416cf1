import { join } from 'node:path'
import test from 'ava'
import {
  AutoModel,
  adapterLayer,
  addAdaptersToModel,
  bottleneck,
  dynamicAdapter,
  Fuse,
  parallel,
  sequential
} from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import { largestDifference, scratch, trainableNames } from './support.js'
import { adapter, fill, inputIds, labels, names, withHead } from './surgery-support.js'

test('surgery and adapters of a model work together', async (t) => {
  const model = await withHead(t)
  model.addAdapter('s', 'double_seq_bn[reduction_factor=8]')
  model.trainAdapter('s')
  model.replaceModule('bert.encoder.layer.1', (layer) => sequential(layer, adapter()))
  t.true(names(model).includes('bert.encoder.layer.1.0.output.adapters.s.adapter_up.weight'))
  t.is(trainableNames(model).filter((name) => name.includes('.adapters.s.')).length, 16)
  const folder = scratch(t)
  await model.saveAdapter(folder, 's')
  await model.loadAdapter(folder, { as: 'r' })
  t.true((await model.forward({ inputIds }, { adapters: 'r' })).logits !== undefined)
  model.undo()
  t.true(names(model).includes('bert.encoder.layer.1.output.adapters.r.adapter_up.weight'))
})

test('LoRA stands at its Linear, before surgery there or after, and its folder is for the same surgery', async (t) => {
  const pattern = 'bert.encoder.layer.*.attention.self.query'
  const lora = 'lora[attn_matrices=["q"]]'
  const first = await withHead(t)
  const before = scratch(t)
  first.addAdapter('l', lora)
  await first.saveAdapter(before, 'l', { withHead: false })
  addAdaptersToModel(first, { pattern, adapterSize: 6 })
  const then = await withHead(t)
  addAdaptersToModel(then, { pattern, adapterSize: 6 })
  then.addAdapter('l', lora)
  t.deepEqual(names(then), names(first))
  t.true(names(then).includes('bert.encoder.layer.0.attention.self.query.0.loras.l.lora_A'))

  fill(first, 'adapter')
  const folder = scratch(t)
  const told: string[] = []
  const listen = ({ message }: Error) => told.push(message)
  process.on('warning', listen)
  await first.saveAdapter(folder, 'l')
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listen)
  t.regex(told.join(), /adapter 'l'.*'bert\.encoder\.layer\.0\.attention\.self\.query'.* the same surgery/)
  await then.loadAdapter(folder, { overwriteOk: true, withHead: false })
  const values = then.stateDict()
  for (const [name, { data }] of first.stateDict()) {
    if (name.includes('.loras.')) t.deepEqual(values.get(name)?.data, data)
  }
  await t.throwsAsync(then.loadAdapter(before, { as: 'b' }), {
    code: 'ERR_STATE_DICT',
    message: /base model and surgery/
  })
  // One Linear in the places of two has one LoRA.
  then.replaceModule('bert.encoder.layer.0.attention.self.key', () =>
    then.getSubmodule(`${pattern.replace('*', '1')}.0`)
  )
  then.addAdapter('k', 'lora[attn_matrices=["q","k"]]')
  t.truthy((await then.forward({ inputIds }, { adapters: 'k' })).logits)
})

test('where a layer stands in the place of another one, adapters stand in what is there', async (t) => {
  const model = await withHead(t)
  model.replaceModule('bert.encoder.layer.0', () => model.getSubmodule('bert.encoder.layer.1'))
  for (const config of ['double_seq_bn', 'lora[intermediate_lora=True]', 'loreft', 'vera', 'unipelt']) {
    model.addAdapter('x', config, { overwriteOk: true })
    model.trainAdapter('x')
    const { gradients } = await model.gradients({ inputIds, labels })
    t.true(
      [...gradients.keys()].some((name) => name.includes('.x.')),
      config
    )
  }
  model.addAdapter('two', 'seq_bn')
  model.addAdapter('three', 'seq_bn')
  model.addAdapterFusion(['two', 'three'])
  t.truthy((await model.forward({ inputIds }, { adapters: Fuse('two', 'three') })).logits)
  model.undo()
  t.truthy((await model.forward({ inputIds }, { adapters: 'x' })).logits)
  // What is deleted while its layer is away does not come back with it.
  model.addAdapter('y', 'double_seq_bn')
  const away = model.replaceModule('bert.encoder.layer.0', () => model.getSubmodule('bert.encoder.layer.1'))
  model.deleteAdapter('y')
  away.undo()
  t.false(names(model).some((name) => name.includes('.y.')))
  model.addAdapter('y', 'seq_bn')
  t.truthy((await model.forward({ inputIds }, { adapters: 'y' })).logits)
})

test('the MLPs of GPT-2, as the document replaces them; what reads whole rows does not generate', async (t) => {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models/gpt2-tiny'), { withHead: false })
  t.teardown(() => model.dispose())
  const before = names(model)
  const inputIds = [[7], [9, 8, 30], [20, 21, 22, 23, 5, 6]]
  for (const path of model.namedModules('transformer.h.*.mlp')) {
    model.replaceModule(path, (mlp) =>
      sequential(mlp, bottleneck({ hiddenSize: model.config.hiddenSize, adapterSize: 4 }))
    )
  }
  t.true(names(model).includes('transformer.h.0.mlp.0.c_fc.weight'))
  t.true(names(model).includes('transformer.h.1.mlp.1.down_project.weight'))
  const first = await model.forward({ inputIds })
  fill(model)
  t.true(
    largestDifference(
      (await model.forward({ inputIds })).lastHiddenState?.data ?? [],
      first.lastHiddenState?.data ?? []
    ) > 1e-3
  )
  const prompt = [{ inputIds: [7, 8, 9] }]
  model.addCausalLmHead('words', { layers: 1, bias: false })
  model.addAdapter('l', 'lora[init_weights="bert", alpha=64]')
  t.is((await model.generate(prompt, { maxNewTokens: 3 })).length, 1)
  const { hiddenSize } = model.config
  const [one, two] = ['transformer.h.0', 'transformer.h.1']
  const own = () => adapterLayer({ hiddenSize, adapterSize: 4 })
  // Around an attention or a layer, behind, before or beside it: what is written is what forward finds likeliest.
  for (const replaced of [
    () => model.replaceModule(`${one}.attn`, (attn) => sequential(attn, own())),
    () => model.replaceModule(`${two}.attn`, (attn) => parallel(attn, own(), { scale: 0.5 })),
    () => model.replaceModule(one, (layer) => sequential(own(), layer, own())),
    () => model.replaceModule(two, (layer) => sequential(parallel(layer, own()), own()))
  ]) {
    replaced()
    fill(model)
    for (const adapters of [null, 'l']) {
      const [written] = await model.generate(prompt, { maxNewTokens: 6, eosTokenId: null, adapters })
      const ids = [7, 8, 9]
      for (const next of written?.ids ?? []) {
        const { logits } = await model.forward({ inputIds: [ids] }, { adapters, head: 'words' })
        const last = logits?.data.slice(-37) ?? new Float32Array()
        t.is(last.indexOf(Math.max(...last)), next)
        ids.push(next)
      }
    }
  }
  const refused = async (message: RegExp) =>
    await t.throwsAsync(model.generate(prompt, { maxNewTokens: 3 }), { code: 'ERR_UNSUPPORTED', message })
  for (const path of [`${one}.1.mlp.0`, `${two}.0.module.mlp.0.c_proj`, 'transformer.ln_f']) {
    const dynamic = model.replaceModule(path, (module) =>
      sequential(module, dynamicAdapter({ hiddenSize, maxAdapterSize: 4 }))
    )
    await refused(/reads whole rows/)
    dynamic.undo()
  }
  while (model.undo());
  const twice = model.replaceModule(two, () => model.getSubmodule(one))
  await refused(/one attention into two places/)
  twice.undo()
  model.deleteHead('words')
  model.deleteAdapter('l')
  while (model.undo());
  t.deepEqual(names(model), before)
})
