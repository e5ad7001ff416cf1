import { rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel, adapterLayer, Stack, sequential } from '../../lib/index.js'
import { hidden, load, scratch } from './support.js'

test('a folder that is something else is told what it looks like, and which call loads it', async (t) => {
  const place = scratch(t)
  const at = (name: string) => join(place, name)
  const model = await load(t)
  for (const name of ['a', 'b']) model.addAdapter(name)
  model.addAdapter('l', 'lora[r=2]')
  model.addClassificationHead('a')
  model.addAdapterFusion(['a', 'b'])
  await model.saveAdapter(at('adapter'), 'a')
  await model.saveAdapter(at('peft'), 'l', { library: 'peft' })
  await model.saveHead(at('head'), 'a')
  await model.saveAdapterFusion(at('fusion'), 'a,b')
  await model.saveAdapterSetup(at('setup'), Stack('a', 'b'))
  await model.savePretrained(at('model'))
  const put = model.replaceModule('bert.encoder.layer.0', (module) =>
    sequential(module, adapterLayer({ hiddenSize: hidden, adapterSize: 2 }))
  )
  await model.saveSurgery(at('surgery'))
  put.undo()
  const other = await load(t)
  const looks = {
    adapter: /an adapter \(loadAdapter, --adapter\)/,
    peft: /an adapter of PEFT's, with its head \(loadAdapter/,
    head: /a head alone \(loadHead, --head\)/,
    fusion: /an AdapterFusion \(loadAdapterFusion, --setup with the folder of its setup around it\)/,
    setup: /a whole setup \(loadAdapterSetup, --setup\)/,
    model: /a model \(AutoModel\.fromPretrained, --model\)/,
    surgery: /what surgery put into a model \(loadSurgery\)/
  }
  for (const [call, names] of [
    [(folder: string) => other.loadAdapter(folder), ['head', 'fusion', 'setup', 'model']],
    [(folder: string) => other.loadHead(folder), ['peft', 'fusion', 'setup', 'model']],
    [(folder: string) => other.loadAdapterFusion(folder), ['adapter', 'peft', 'head', 'setup', 'model']],
    [(folder: string) => other.loadAdapterSetup(folder), ['adapter', 'peft', 'head', 'fusion', 'model']],
    [(folder: string) => AutoModel.fromPretrained(folder), ['adapter', 'peft', 'head', 'fusion', 'setup', 'surgery']]
  ] as const) {
    for (const name of names) {
      await t.throwsAsync(call(at(name)), { code: 'ERR_FILE_NOT_FOUND', message: looks[name] }, `${call} ${name}`)
    }
  }
  await t.throwsAsync(other.loadSurgery(at('adapter')), { code: 'ERR_FILE_NOT_FOUND', message: /holds no surgery/ })
  await t.throwsAsync(other.loadAdapterFusion(at('fusion')), { message: /no 'a', 'b' here.*Load or add them before/ })
  await t.throwsAsync(AutoModel.fromPretrained(at('model'), { dtype: 'bf16' } as object), {
    message: /called 'trunk' here/
  })
  t.throws(() => other.loadStateDict({ x: { data: Float32Array.of(1), shape: [1] } }), {
    message: /^loadStateDict: the values do not fit: 'x: no such parameter'/
  })
  rmSync(join(at('adapter'), 'adapter_config.json'))
  await t.throwsAsync(other.loadAdapter(at('adapter')), { message: /an adapter without its adapter_config\.json/ })
  t.deepEqual([other.adapters.size, other.heads.size, other.adapterFusions.size], [0, 0, 0])
})
