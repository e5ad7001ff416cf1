import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, type Model } from '../../lib/index.js'
import { load, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

const presets = [
  ...['double_seq_bn', 'compacter[reduction_factor=2]', 'seq_bn_inv', 'lora', 'dora', 'vera', 'ia3', 'mtl_lora'],
  ...['prefix_tuning', 'prefix_tuning_flat', 'prompt_tuning', 'loreft', 'noreft', 'direft', 'mam', 'unipelt']
]

const rows = tinyRows(16)
const logits = async (model: Model) =>
  (await model.forward({ inputIds: rows.map(({ inputIds }) => inputIds) }, { adapters: 'a', head: 'a' })).logits?.data

for (const preset of presets) {
  test(`${preset}: resumed as if it had not stopped, and loaded as it was saved`, async (t) => {
    const outputDir = scratch(t)
    const start = async () => {
      const model = await load(t)
      model.addAdapter('a', preset)
      model.addClassificationHead('a', { numLabels: 2 })
      model.trainAdapter('a')
      return model
    }
    const args = { ...quiet, outputDir, maxSteps: 6, learningRate: 1e-2, saveStrategy: 'steps', saveSteps: 3 } as const
    const run = (model: Model, resumeFromCheckpoint: string | null) =>
      new AdapterTrainer({ model, trainDataset: rows, args: { ...args, resumeFromCheckpoint } }).train()
    const whole = await start()
    const before = snapshot(whole)
    await run(whole, null)
    t.true(moved(before, snapshot(whole)).some((name) => name.includes('.a.') && !name.startsWith('heads.')))
    const resumed = await start()
    await run(resumed, join(outputDir, 'checkpoint-3'))
    t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])

    await whole.saveAdapter(join(outputDir, 'a'), 'a')
    const other = await load(t)
    await other.loadAdapter(join(outputDir, 'a'))
    t.deepEqual(await logits(other), await logits(whole))
  })
}
