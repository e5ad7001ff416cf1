import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { script } from '../setup/script.js'
import type { Tasks, Wordnet } from './types.js'

interface Data {
  readonly train: object[]
  readonly test: object[]
}

interface Contenders {
  encodeTask(task: object, model: Model, rows: number): Data
  train(model: Model, way: string, task: object, data: Data, options: { seed: number; out: string }): Promise<object>
  test(model: Model, task: object, data: Data): Promise<{ accuracy: number; macroF1: number }>
}

const { readWordnet } = await script<Wordnet>('quickstart/wordnet.mjs')
const { taskBuilders } = await script<Tasks>('quickstart/tasks.mjs')
const contenders = await script<Contenders>('quickstart/contenders.mjs')

const encoder = fileURLToPath(new URL('../../../models/wordnet-bert-mini', import.meta.url))

/** A part of the quickstart: 20,000 of 94,206 rows for training, 4,000 of 11,704 for the test. */
async function accuracy(way: string, out: string): Promise<number> {
  const model = await AutoModel.fromPretrained(encoder, { seed: 1 })
  try {
    const task = taskBuilders.lexname(readWordnet())
    const data = contenders.encodeTask(task, model, 20_000)
    await contenders.train(model, way, task, data, { seed: 1, out })
    return (await contenders.test(model, task, { ...data, test: data.test.slice(0, 4000) })).accuracy
  } finally {
    model.dispose()
  }
}

test('an adapter does better than a head alone, by 4 points at least', async (t) => {
  const out = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
  t.teardown(() => rmSync(out, { recursive: true }))
  const head = await accuracy('head', out)
  const adapter = await accuracy('adapter', out)
  t.log(`head alone ${head.toFixed(4)}, adapter ${adapter.toFixed(4)}`)
  t.true(adapter >= head + 0.04)
})
