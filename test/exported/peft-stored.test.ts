// What PEFT's folders store of a network whole, for archives of classes with a head.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { editTensors, floats } from '../model/safetensors-file.js'
import { scratch } from '../model/support.js'

const archive = gunzipSync(readFileSync('test/parity/fixtures/exported-heads/llama-classifier.pt2.gz'))

test('a module of the base model that learned (modules_to_save) is refused by name, with and without the head', async (t) => {
  const folder = scratch(t)
  const file = join(folder, 'llama.pt2')
  writeFileSync(file, archive)
  using model = await AutoModel.fromExported(file)
  model.addAdapter('x', { architecture: 'lora', r: 1, targetModules: ['q_proj'] })
  const peft = join(folder, 'peft')
  await model.saveAdapter(peft, 'x', { library: 'peft' })
  const norms = model.namedModules().filter((name) => name.endsWith('norm'))
  t.true(norms.length > 1)
  const store = (change: number) => {
    const config = join(peft, 'adapter_config.json')
    const json = JSON.parse(readFileSync(config, 'utf8'))
    writeFileSync(config, JSON.stringify({ ...json, modules_to_save: ['score', 'norm'] }))
    editTensors(join(peft, 'adapter_model.safetensors'), (tensors) => {
      for (const name of norms) {
        const { data } = model.parameter(`${name}.weight`)
        tensors.set(`base_model.model.${name}.weight`, floats(Array.from(data, (value) => value + change)))
      }
    })
  }
  store(0)
  for (const options of [{}, { withHead: false }])
    t.is(await model.loadAdapter(peft, { as: 'same', overwriteOk: true, ...options }), 'same')
  store(0.5)
  for (const options of [{}, { withHead: false }])
    await t.throwsAsync(model.loadAdapter(peft, { as: 'other', ...options }), {
      code: 'ERR_UNSUPPORTED',
      message: /stores .*norm.* of the base model whole.*modules_to_save score, norm.*merge_and_unload/s
    })
})
