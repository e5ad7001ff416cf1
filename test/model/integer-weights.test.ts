// Quantized files keep integers in the place of weights; their scales stand elsewhere.
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel, addAdaptersToModel } from '../../lib/index.js'
import { loadAddon } from '../../lib/native/addon.js'
import { editTensors, type StoredTensor } from './safetensors-file.js'
import { lastHiddenState, load, moved, sameBits, scratch, snapshot, tiny } from './support.js'

const refused = (what: string, type: string) => ({
  code: 'ERR_UNSUPPORTED',
  message: new RegExp(
    `^${what}.*integers where weights belong: '.*\\(expected float32, float16 or bfloat16, got ${type}\\)\\. It seems to be quantized.*dequantize`
  )
})

/** Integers in the place of the first tensor whose name ends so. */
function quantize(file: string, end: string, dtype = 'I8', size = 1): void {
  editTensors(file, (tensors) => {
    const [name, { shape }] = [...tensors].find(([one]) => one.endsWith(end)) as [string, StoredTensor]
    const bytes = Buffer.alloc(
      shape.reduce((product, one) => product * one, size),
      1
    )
    tensors.set(name, { dtype, shape, bytes })
  })
}

const weight = 'layer.0.attention.self.query.weight'

test('integers in a base model’s weights are refused by name and type, in both formats', async (t) => {
  const folder = join(scratch(t), 'model')
  const file = join(folder, 'model.safetensors')
  for (const [dtype, type, size] of [
    ['I8', 'int8', 1],
    ['U8', 'uint8', 1],
    ['I32', 'int32', 4]
  ] as const) {
    cpSync(tiny, folder, { recursive: true })
    quantize(file, weight, dtype, size)
    await t.throwsAsync(AutoModel.fromPretrained(folder), refused('load base weights', type))
  }
  // Four bits are packed in pairs, so that the shape is another, too.
  editTensors(file, (tensors) => {
    const name = [...tensors.keys()].find((one) => one.endsWith(weight)) ?? ''
    tensors.set(name, { dtype: 'U8', shape: [512, 1], bytes: Buffer.alloc(512, 1) })
  })
  await t.throwsAsync(AutoModel.fromPretrained(folder), refused('load base weights', 'uint8'))
  await loadAddon().convertWeights(file, join(folder, 'pytorch_model.bin'), 'bin', 'plain', null)
  rmSync(file)
  await t.throwsAsync(AutoModel.fromPretrained(folder), refused('load base weights', 'uint8'))
})

test('positions that old files hold as integers are none', async (t) => {
  const folder = join(scratch(t), 'model')
  cpSync(tiny, folder, { recursive: true })
  editTensors(join(folder, 'model.safetensors'), (tensors) => {
    const bytes = Buffer.from(BigInt64Array.from({ length: 24 }, (_, i) => BigInt(i)).buffer)
    tensors.set('bert.embeddings.position_ids', { dtype: 'I64', shape: [1, 24], bytes })
  })
  const model = await AutoModel.fromPretrained(folder)
  t.teardown(() => model.dispose())
  t.true(sameBits(await lastHiddenState(model), await lastHiddenState(await load(t))))
})

test('so are those of adapters, heads and surgery; the model stays as it was', async (t) => {
  const place = scratch(t)
  const model = await load(t)
  model.addAdapter('a', 'seq_bn')
  model.addClassificationHead('a')
  const [own, broken] = [join(place, 'own'), join(place, 'broken')]
  await model.saveAdapter(own, 'a')
  const before = snapshot(model)
  for (const [file, end, what] of [
    ['adapter.safetensors', 'adapter_down.0.weight', 'load the adapter'],
    ['model_head.safetensors', '.weight', 'load the head']
  ] as const) {
    cpSync(own, broken, { recursive: true })
    quantize(join(broken, file), end)
    await t.throwsAsync(model.loadAdapter(broken, { overwriteOk: true }), refused(what, 'int8'))
  }
  t.deepEqual(moved(before, snapshot(model)), [])
  addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output.dense', adapterSize: 4 })
  await model.saveSurgery(own)
  quantize(join(own, 'inserted_modules.safetensors'), '.weight')
  const other = await load(t)
  await t.throwsAsync(other.loadSurgery(own), refused('.*load the inserted modules', 'int8'))
})
