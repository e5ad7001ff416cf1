import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type AdapterSetup, AutoModel, type Model, Parallel, Stack } from '../../lib/index.js'
import { command, scratch } from './command.js'
import { tinyModel } from './tiny-model.js'

// A row's "adapter" names what a folder of Model.save() came with.

const place = scratch()
const ids = [
  [5, 6, 7, 9, 11],
  [8, 6, 70, 3],
  [40, 41],
  [9, 8, 7]
]

/** Adapters a and b with heads of their own, and low without. */
async function withAdapters(t: ExecutionContext): Promise<Model> {
  const model = await AutoModel.fromPretrained(tinyModel)
  t.teardown(() => model.dispose())
  for (const [i, name] of ['a', 'b', 'low'].entries()) {
    model.addAdapter(name, "lora[r=4, init_weights='bert']", { seed: i + 1 })
    if (name !== 'low') model.addClassificationHead(name, { numLabels: 2 + i, seed: i + 1 })
  }
  return model
}

async function saved(model: Model, name: string, active: AdapterSetup | null): Promise<string> {
  const folder = join(place, name)
  model.setActiveAdapters(active as never)
  await model.save(folder)
  return folder
}

function write(name: string, adapters: readonly unknown[]): string {
  const file = join(place, `${name}.jsonl`)
  const lines = adapters.map((adapter, id) =>
    JSON.stringify({ id, input_ids: ids[id], ...(adapter !== undefined && { adapter }) })
  )
  writeFileSync(file, lines.join('\n'))
  return file
}

interface Answer {
  readonly id: number
  readonly logits: number[]
  readonly adapter?: string
}

async function predict(t: ExecutionContext, ...args: string[]): Promise<Answer[]> {
  const { status, output, errors } = await command(['predict', '--threads', '1', '--model', ...args])
  t.is(status, 0, errors)
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

const close = (t: ExecutionContext, found: readonly number[] | undefined, expected: ArrayLike<number>) => {
  t.is(found?.length, expected.length)
  found?.forEach((value, i) => {
    t.true(Math.abs(value - (expected[i] ?? Number.NaN)) < 1e-5, `${found} and ${Array.from(expected)}`)
  })
}

const answerOf = async (model: Model, row: number, adapters: AdapterSetup | null) => {
  const [answer] = await model.predict([{ inputIds: ids[row] as number[] }], { adapters: adapters as AdapterSetup })
  return answer?.logits ?? []
}

test('rows without one are answered by what is active, others by what they name', async (t) => {
  const model = await withAdapters(t)
  const folder = await saved(model, 'one', 'a')
  const file = write('one', [undefined, 'b', 'Stack[low, b]', undefined])
  const answers = await predict(t, folder, '-i', file)
  t.deepEqual(
    answers.map(({ id }) => id),
    [0, 1, 2, 3]
  )
  for (const [row, setup] of ['a', 'b', Stack('low', 'b'), 'a'].entries()) {
    close(t, answers[row]?.logits, await answerOf(model, row, setup))
  }
  // Of Parallel there is one for each child.
  const both = await saved(model, 'both', Parallel('a', 'b'))
  const mixed = await predict(t, both, '-i', write('both', [undefined, 'b', undefined]))
  t.deepEqual(
    mixed.map(({ id, adapter }) => [id, adapter]),
    [
      [0, 'a'],
      [0, 'b'],
      [1, undefined],
      [2, 'a'],
      [2, 'b']
    ]
  )
  for (const [at, [row, setup]] of (
    [
      [0, 'a'],
      [0, 'b'],
      [1, 'b'],
      [2, 'a'],
      [2, 'b']
    ] as const
  ).entries()) {
    close(t, mixed[at]?.logits, await answerOf(model, row, setup))
  }
  // Nothing but named ones, and nothing but others.
  t.is((await predict(t, folder, '-i', write('named', ['b', 'b']))).length, 2)
  t.is((await predict(t, both, '-i', write('others', [undefined, undefined]))).length, 4)
})

test('beside --adapter they may be named as well, and above them a --head answers', async (t) => {
  const model = await withAdapters(t)
  const folder = await saved(model, 'beside', 'a')
  const other = await AutoModel.fromPretrained(tinyModel)
  t.teardown(() => other.dispose())
  other.addAdapter('c', "lora[r=2, init_weights='bert']", { seed: 9 })
  other.addClassificationHead('c', { numLabels: 5, seed: 9 })
  const own = join(place, 'c')
  await other.saveAdapter(own, 'c')
  // A task of its own that a row has is none of --adapter's, where there is one alone.
  const file = write('beside', [undefined, 'b', 'c', 'Stack[a, c]'])
  const answers = await predict(t, folder, '-a', own, '-i', file)
  await model.loadAdapter(own)
  for (const [row, setup] of ['c', 'b', 'c', Stack('a', 'c')].entries()) {
    close(t, answers[row]?.logits, await answerOf(model, row, setup))
  }
  const head = join(place, 'head')
  model.addClassificationHead('three', { numLabels: 3, seed: 4 })
  await model.saveHead(head, 'three')
  const headed = await predict(t, folder, '--head', head, '-i', write('headed', ['low', 'b', null]))
  for (const [row, setup] of ['low', 'b', null].entries()) {
    const [expected] = await model.predict([{ inputIds: ids[row] as number[] }], { adapters: [setup], head: 'three' })
    close(t, headed[row]?.logits, expected?.logits ?? [])
  }
})

test('a name that is not there, and an adapter without a head, are told with the row', async (t) => {
  const model = await withAdapters(t)
  const folder = await saved(model, 'wrong', 'a')
  const cases: [unknown, RegExp][] = [
    ['bb', /wrong\.jsonl:2: no adapter 'bb' \(expected one of 'a', 'b', 'low', or null.* Did you mean 'b'\?/],
    ['Stack[a, e]', /wrong\.jsonl:2: Stack\[a, e\] names 'e' \(expected of 'a', 'b', 'low'/],
    // The head of another adapter is none of its own.
    ['low', /wrong\.jsonl:2: 'low' has no head, so it cannot answer/]
  ]
  for (const [adapter, message] of cases) {
    const file = write('wrong', ['a', adapter])
    const { status, errors } = await command(['predict', '--threads', '1', '--model', folder, '-i', file])
    t.is(status, 1, errors)
    t.regex(errors, message)
  }
  // One that is no adapter's answers above all.
  model.addClassificationHead('all', { numLabels: 4, seed: 5 })
  model.setActiveAdapters(null)
  model.activeHead = 'all'
  const whole = join(place, 'all')
  await model.save(whole)
  const answers = await predict(t, whole, '-i', write('all', ['low', 'b', undefined]))
  for (const [row, adapters, head] of [
    [0, 'low', 'all'],
    [1, 'b', 'b'],
    [2, null, 'all']
  ] as const) {
    const [expected] = await model.predict([{ inputIds: ids[row] as number[] }], { adapters, head })
    close(t, answers[row]?.logits, expected?.logits ?? [])
  }
})

test('generate takes them, too', async (t) => {
  const config = { model_type: 'gpt2', vocab_size: 99, n_positions: 24, n_embd: 32, n_layer: 2, n_head: 4 }
  const model = await AutoModel.fromConfig(config, { seed: 3 })
  t.teardown(() => model.dispose())
  for (const [i, name] of ['a', 'b'].entries()) {
    model.addAdapter(name, "lora[r=8, alpha=64, init_weights='bert']", { seed: i + 1 })
    model.addCausalLmHead(name)
  }
  const folder = join(place, 'writer')
  await model.save(folder)
  const file = write('writer', ['a', 'b', null])
  const args = ['generate', '--threads', '1', '--model', folder, '-i', file, '--max-new-tokens', '4']
  const { status, output, errors } = await command(args)
  t.is(status, 0, errors)
  const found = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  for (const [row, adapters] of ['a', 'b', null].entries()) {
    const head = adapters
    const [expected] = await model.generate([{ inputIds: ids[row] as number[] }], { adapters, head, maxNewTokens: 4 })
    t.deepEqual(found[row].ids, Array.from(expected?.ids ?? []))
  }
})
