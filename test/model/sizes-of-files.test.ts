import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { addAdaptersToModel } from '../../lib/index.js'
import { changed, open } from '../exchange/peft-folders.js'
import { load, moved, scratch, snapshot } from './support.js'

const refused = (what: string, file: string) => ({
  code: 'ERR_STATE_DICT',
  message: new RegExp(
    `^${what}: its configuration does not fit .*${file} \\(expected weights of \\d+ values, got a file of`
  )
})

type Fields = Record<string, unknown>

/** Changes a config that lies beside weights. */
function edit(file: string, change: (fields: Fields) => void): void {
  const json = JSON.parse(readFileSync(file, 'utf8')) as Fields
  change((json['config'] ?? json) as Fields)
  writeFileSync(file, JSON.stringify(json))
}

test('a config that asks for far more than its weights hold is refused before anything is made', async (t) => {
  const folder = join(scratch(t), 'a')
  const model = await load(t)
  model.addAdapter('a', 'seq_bn[reduction_factor=8]')
  model.addClassificationHead('a', { numLabels: 2 })
  await model.saveAdapter(folder, 'a')
  const before = snapshot(model)
  const adapter = join(folder, 'adapter_config.json')
  const head = join(folder, 'head_config.json')
  edit(head, (config) => {
    config['num_labels'] = 1e6
    delete config['label2id']
  })
  for (const as of ['a', 'b']) {
    const options = { as, overwriteOk: true }
    await t.throwsAsync(model.loadAdapter(folder, options), refused('load the head', 'model_head.safetensors'))
    await t.throwsAsync(model.loadHead(folder, options), refused('load the head', 'model_head.safetensors'))
  }
  edit(adapter, (config) => {
    config['reduction_factor'] = 0.00004
  })
  const wide = refused('load the adapter', 'adapter.safetensors')
  await t.throwsAsync(model.loadAdapter(folder, { withHead: false, as: 'b' }), wide)
  await t.throwsAsync(model.loadAdapter(folder, { withHead: false, as: 'b', leaveOut: [0] }), wide)
  // What is a little too large is told name by name.
  edit(adapter, (config) => {
    config['reduction_factor'] = 4
  })
  const message = /the file does not fit; wrong shape '.*expected \[8, 32\], got \[4, 32\]/
  await t.throwsAsync(model.loadAdapter(folder, { withHead: false, as: 'b' }), { message })
  t.deepEqual([[...model.adapters.keys()], [...model.heads.keys()]], [['a'], ['a']])
  t.deepEqual(moved(before, snapshot(model)), [])
})

test('so it is with a folder of PEFT’s, with a whole model and with surgery', async (t) => {
  const peft = changed(t, 'bert-regex-rslora', { r: 1_000_000, rank_pattern: {}, alpha_pattern: {} })
  const model = await open('bert-tiny')
  await t.throwsAsync(model.loadAdapter(peft, { withHead: false }), refused('load the adapter', 'adapter_model.\\w+'))
  const place = scratch(t)
  model.addAdapter('a', 'seq_bn[reduction_factor=8]')
  await model.save(join(place, 'whole'))
  model.deleteAdapter('a')
  edit(join(place, 'whole', 'config.json'), (json) => {
    const text = JSON.stringify(json).replaceAll('"reduction_factor":8', '"reduction_factor":0.00004')
    Object.assign(json, JSON.parse(text))
  })
  addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output.dense', adapterSize: 4 })
  await model.saveSurgery(join(place, 'surgery'))
  model.dispose()
  const { AutoModel } = await import('../../lib/index.js')
  await t.throwsAsync(AutoModel.fromPretrained(join(place, 'whole')), refused('load the adapter', 'whole'))
  const other = await load(t)
  edit(join(place, 'surgery', 'surgery.json'), (json) => {
    Object.assign(json, JSON.parse(JSON.stringify(json).replaceAll('"adapter_size":4', '"adapter_size":1000000')))
  })
  const surgery = refused('load the surgery', 'inserted_modules.safetensors')
  await t.throwsAsync(other.loadSurgery(join(place, 'surgery')), surgery)
  t.deepEqual(other.replacements, [])
})
