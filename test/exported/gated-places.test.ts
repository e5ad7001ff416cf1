// AdapterHub's places in gated feed-forward blocks: Python's adapters knows up_proj and down_proj, and in Llama has them at
// each other's names (D23).
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { AdapterConfigSource, Model } from '../../lib/index.js'
import { fill, scratch } from '../model/support.js'
import { open } from './support.js'

const lora = (targetModules: readonly string[]) => ({ architecture: 'lora', r: 2, targetModules }) as const
const rows = { inputIds: [[5, 6, 7, 8], [3]] }

function standsAt(model: Model, name: string): string[] {
  const part = new RegExp(`([^.]+)\\.loras\\.${name}\\.`)
  return [...new Set(model.namedParameters().flatMap((each) => part.exec(each.name)?.[1] ?? []))].sort()
}

const cases: readonly (readonly [network: string, AdapterConfigSource, intermediate: boolean, output: boolean])[] = [
  ['llama', 'lora[r=2, output_lora=True]', true, false],
  ['llama', lora(['q_proj', 'v_proj', 'up_proj']), false, true],
  ['llama', lora(['up_proj', 'down_proj']), true, true],
  ['mistral', lora(['k_proj', 'down_proj']), true, false],
  ['qwen2', 'lora[r=2, output_lora=True]', false, true],
  ['qwen2', lora(['q_proj', 'v_proj', 'up_proj']), true, false]
]

for (const [network, config, intermediate, output] of cases) {
  const where = typeof config === 'string' ? config : JSON.stringify(config)
  test(`in ${network} a folder names Python's places, and comes back: ${where}`, async (t) => {
    const { model } = await open(t, network)
    model.addAdapter('x', config)
    fill(model, 'x')
    const folder = scratch(t)
    await model.saveAdapter(folder, 'x')
    const json = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    t.like(json.config, { intermediate_lora: intermediate, output_lora: output, leave_out: [] })
    t.false('target_modules' in json.config)
    const { model: other } = await open(t, network)
    await other.loadAdapter(folder, { as: 'y' })
    t.deepEqual(standsAt(other, 'y'), standsAt(model, 'x'))
    const [theirs, ours] = await Promise.all([
      other.forward(rows, { adapters: 'y', head: null }),
      model.forward(rows, { adapters: 'x', head: null })
    ])
    t.deepEqual(theirs.lastHiddenState, ours.lastHiddenState)
  })
}

test('what Python has no place for is refused by name, and PEFT has it', async (t) => {
  const { model } = await open(t, 'llama')
  model.addAdapter('x', 'ia3')
  const folder = scratch(t)
  await t.throwsAsync(model.saveAdapter(folder, 'x'), {
    code: 'ERR_UNSUPPORTED',
    message: /no LoRA at layers\.0\.mlp\.gate_proj \(in feed-forward: down_proj, up_proj\).*library: 'peft'/
  })
  await model.saveAdapter(folder, 'x', { library: 'peft' })
  await model.loadAdapter(folder, { as: 'y' })
  t.deepEqual(standsAt(model, 'y'), standsAt(model, 'x'))
})
