import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import test from 'ava'
import { type Model, Stack } from '../../lib/index.js'
import { readTensors, writeTensors } from './safetensors-file.js'
import { load, scratch } from './support.js'

/** All that such an error shows, with its fields and its cause. */
async function shown(call: () => unknown): Promise<string> {
  try {
    await call()
  } catch (error) {
    return `${inspect(error, { showHidden: true })} ${(error as Error).stack}`
  }
  return ''
}

test('what is tried under another name is told of under its own', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name, 'seq_bn[reduction_factor=4]')
    model.addClassificationHead(name, { numLabels: 2 })
  }
  model.addAdapterFusion(['a', 'b'])
  model.addAdapter('small', 'seq_bn[reduction_factor=8]')
  await model.saveAdapter(join(folder, 'adapter'), 'a')
  await model.saveAdapter(join(folder, 'small'), 'small')
  await model.saveAdapterFusion(join(folder, 'fusion'), 'a,b')
  await model.saveAdapterSetup(join(folder, 'setup'), Stack('a', 'b'))
  // Weights of another size, and none that are any.
  cpSync(join(folder, 'adapter'), join(folder, 'other'), { recursive: true })
  cpSync(join(folder, 'small/adapter.safetensors'), join(folder, 'other/adapter.safetensors'))
  const small = readTensors(join(folder, 'small/adapter.safetensors'))
  const called = (name: string) => new Map([...small].map(([key, one]) => [key.replace('.small.', `.${name}.`), one]))
  writeTensors(join(folder, 'adapter/adapter.safetensors'), called('a'))
  writeTensors(join(folder, 'setup/b/adapter.safetensors'), called('b'))
  writeFileSync(join(folder, 'fusion/model_adapter_fusion.safetensors'), 'none')
  for (const name of ['v', 'w', 'c']) model.addAdapter(name, 'vera')
  const before = [...model.adapters.keys(), ...model.heads.keys()]
  const calls: readonly (readonly [(model: Model) => unknown, RegExp])[] = [
    [
      (m) => m.averageAdapter('c', ['v', 'w'], { overwriteOk: true }),
      /averageAdapter 'c': the frozen values of .*\.c\./
    ],
    [(m) => m.loadAdapter(join(folder, 'adapter'), { overwriteOk: true }), /load the adapter 'a' .*adapters\.a\./],
    [(m) => m.loadAdapter(join(folder, 'adapter'), { as: 'n', leaveOut: [1] }), /load the adapter '.*adapters\.[an]\./],
    [
      (m) => m.loadAdapter(join(folder, 'adapter'), { leaveOut: [1], overwriteOk: true }),
      /load the adapter 'a' .*adapters\.a\./
    ],
    [(m) => m.loadAdapter(join(folder, 'other'), { as: 'n' }), /load 'a': the file holds nothing of that name/],
    [(m) => m.loadAdapterFusion(join(folder, 'fusion'), { overwriteOk: true }), /fusion/],
    [(m) => m.loadAdapterSetup(join(folder, 'setup'), { overwriteOk: true }), /load the adapter 'b' .*adapters\.b\./]
  ]
  for (const [call, message] of calls) {
    const text = await shown(() => call(model))
    t.regex(text, message)
    t.notRegex(text, /\((averaging|loading|whole)\)/)
    t.deepEqual([...model.adapters.keys(), ...model.heads.keys()], before)
  }
})
