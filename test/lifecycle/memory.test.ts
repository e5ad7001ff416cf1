import { statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { scratch, tinyConfig } from '../model/support.js'
import { runChild, stress } from './support.js'

const steps = stress ? 2000 : 300

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

test.serial(`${steps} steps: resident memory grows by less than 2 % after the warm-up`, async (t) => {
  t.timeout(600_000)
  const third = Math.floor(steps / 20 / 3)
  // What leaks does so in every process; where the machine is busy a thread may come late to memory of its own in one.
  let grown = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < 3 && grown >= 1.02; attempt++) {
    const { code, stdout, stderr } = await runChild('memory', `${steps}`)
    t.is(code, 0, stderr)
    const measured: number[] = JSON.parse(stdout.replace('memory ', ''))
    t.is(measured.length, steps / 20)
    const [early, late] = [median(measured.slice(third, 2 * third)), median(measured.slice(-third))]
    t.log(`${(early / 2 ** 20).toFixed(1)} → ${(late / 2 ** 20).toFixed(1)} MiB`)
    grown = late / early
  }
  t.true(grown < 1.02, `${grown}`)
})

for (const [dtype, format, file] of [
  ['float32', 'safetensors', 'model.safetensors'],
  ['float32', 'bin', 'pytorch_model.bin'],
  ['float16', 'safetensors', 'model.safetensors'],
  ['bfloat16', 'bin', 'pytorch_model.bin']
] as const) {
  test.serial(`${file} of ${dtype}: a model takes at most 1.15 times its weights, and is read once`, async (t) => {
    // The word embeddings, of which a row is read alone, are few beside the rest.
    const large = { hidden_size: 768, num_attention_heads: 12, intermediate_size: 3072, num_hidden_layers: 4 }
    const model = await AutoModel.fromConfig({ ...tinyConfig, ...large })
    const folder = scratch(t)
    await model.savePretrained(folder, { dtype, format })
    model.dispose()
    // Half of them are made whole.
    const bytes = statSync(join(folder, file)).size * (dtype === 'float32' ? 1 : 2)
    const { code, stdout, stderr } = await runChild('load', folder)
    t.is(code, 0, stderr)
    const [share = 0, peak = 0] = (JSON.parse(stdout.replace('load ', '')) as number[]).map((one) => one / bytes)
    t.log(
      `${(bytes / 2 ** 20).toFixed(0)} MiB of weights, ${share.toFixed(3)} of them in memory, ${peak.toFixed(3)} at most`
    )
    // All of them are there: the pass has read each.
    t.true(share > 0.9 && peak <= 1.15, `${share}, ${peak}`)
  })
}
