import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { scratch } from '../model/support.js'
import { checkForward } from '../parity/support/check-case.js'
import { type Case, fixtures, Group } from '../parity/support/fixtures.js'
import { largestOf, scalar, Worst } from '../parity/support/worst.js'

/** Also the gradient of what a prefix or prompt learns, in PEFT's shape. */
type PromptCase = Case & { readonly expected: { readonly gradient?: string } }

const group = new Group<PromptCase>('peft-prompts')
const open = (name: string) => AutoModel.fromPretrained(join(fixtures, 'models', name))

for (const one of group.cases) {
  test(`values, gradients and the folder written back: ${one.folder}`, async (t) => {
    const worst = new Worst()
    using model = await open(one.model)
    const name = await model.loadAdapter(join(fixtures, 'peft', one.folder ?? ''))
    const input = { ...one.input, ...(one.labels && { labels: one.labels }) }
    const forward = (adapters: string) =>
      model.forward(input, { adapters, outputHiddenStates: true, head: headOf(name) })
    const headOf = (adapter: string) => (model.heads.has(adapter) ? adapter : null)
    const answer = await forward(name)
    checkForward(group, one, answer, worst)
    if (one.expected.gradient !== undefined) {
      worst.forward('loss', scalar(answer.loss), scalar(one.expected.loss))
      model.trainAdapter(name)
      const { gradients } = await model.gradients(input, { adapters: name, head: name })
      const [learned] = [...gradients].filter(([parameter]) => parameter.includes(`_tunings.${name}.`))
      const expected = group.tensor(one.expected.gradient)
      const data = learned?.[1].data ?? new Float32Array()
      worst.gradient('what is learned', { data, shape: expected.shape }, expected, largestOf(expected))
    }
    const again = scratch(t)
    await model.saveAdapter(again, name, { library: 'peft', withHead: headOf(name) !== null })
    await model.loadAdapter(again, { as: 'again', withHead: false })
    t.deepEqual(model.adapters.get('again'), model.adapters.get(name))
    checkForward(group, one, await forward('again'), worst)
    worst.report(t)
  })
}

test('rows of one batch have prefixes and prompts of both libraries, or none', async (t) => {
  using model = await open('gpt2-tiny')
  await model.loadAdapter(join(fixtures, 'peft', 'gpt2-prompt'), { as: 'words' })
  await model.loadAdapter(join(fixtures, 'peft', 'gpt2-prefix'), { as: 'prefix' })
  model.addAdapter('plain', 'prompt_tuning[prompt_length=1]')
  const setups = ['plain', 'words', null, 'prefix', { type: 'Stack', children: ['words', 'plain', 'prefix'] }] as const
  const rows = [[7, 8], [9], [5, 6, 7], [8, 9], [10, 11]]
  const { logits } = await model.forward({ inputIds: rows }, { adapters: setups as never, head: 'words' })
  for (const [i, setup] of setups.entries()) {
    const alone = await model.forward({ inputIds: [rows[i] ?? []] }, { adapters: setup as never, head: 'words' })
    const own = logits?.data.slice(2 * i, 2 * i + 2) ?? []
    t.true(
      [...own].every((value, j) => Math.abs(value - (alone.logits?.data[j] ?? Number.NaN)) < 1e-5),
      `row ${i}`
    )
  }
})

test('a folder of another size, and what PEFT does not compute, are refused with the way out', async (t) => {
  using bert = await open('bert-tiny')
  await t.throwsAsync(bert.loadAdapter(join(fixtures, 'peft', 'gpt2-prefix')), {
    code: 'ERR_WRONG_MODEL',
    message: /expected prompt_embeddings \[2, 128\].*got \[2, 32\]/is
  })
  const folder = scratch(t)
  const refuses = async (config: string, message: RegExp) => {
    bert.addAdapter('a', config, { overwriteOk: true })
    await t.throwsAsync(bert.saveAdapter(folder, 'a', { library: 'peft' }), { code: 'ERR_UNSUPPORTED', message })
  }
  await refuses('prefix_tuning_flat', /leaves the positions.*shiftPositions: true/s)
  await refuses('prefix_tuning', /leaves the positions/)
  await refuses('prompt_tuning', /a prompt without positions.*combine: 'prefix_words'/s)
  const hub = async (config: string, message: RegExp) => {
    bert.addAdapter('a', config, { overwriteOk: true })
    await t.throwsAsync(bert.saveAdapter(folder, 'a'), { code: 'ERR_UNSUPPORTED', message })
  }
  await hub('prefix_tuning_flat[shift_positions=True]', /has no shiftPositions/)
  await hub("prompt_tuning[combine='prefix_words']", /has no combine: 'prefix_words'/)
  t.throws(() => bert.addAdapter('b', 'prefix_tuning[shift_positions=True]'), { message: /shiftPositions.*with flat/ })
  bert.addAdapter('long', "prompt_tuning[prompt_length=20, combine='prefix_words']")
  await t.throwsAsync(bert.forward({ inputIds: [[5, 6, 7, 8, 9]] }, { adapters: 'long', head: null }), {
    message: /row 0 and its prompt are longer than the model has positions/
  })
})

test('what PEFT reads: sizes of the model, and no class where there is no head', async (t) => {
  using model = await open('electra-tiny')
  const folder = scratch(t)
  model.addAdapter('a', "prompt_tuning[prompt_length=3, combine='prefix_words']")
  await model.saveAdapter(folder, 'a', { library: 'peft' })
  t.like(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')), {
    ...{ peft_type: 'PROMPT_TUNING', num_virtual_tokens: 3, token_dim: 4, num_layers: 2, num_attention_heads: 2 },
    ...{ task_type: 'FEATURE_EXTRACTION', modules_to_save: null, inference_mode: true }
  })
})
