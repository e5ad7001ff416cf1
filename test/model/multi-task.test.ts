import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, AutoModel, MultiTaskAdapterModel, OutputAdapterConfig, Stack } from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import {
  hidden,
  largestDifference,
  load,
  moved,
  quiet,
  scratch,
  snapshot,
  tinyRows,
  trainableNames
} from './support.js'

const rows = tinyRows(12)
const inputIds = rows.map((row) => row.inputIds)
const tasks = { sst2: { hiddenSize: hidden, adapterSize: 6 }, qqp: { adapterSize: 4, activation: 'gelu' } } as const

const random = (count: number, from: number) => Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin(from + i))

function fill(model: Awaited<ReturnType<typeof load>>): void {
  const added = model.namedParameters().filter(({ name }) => name.startsWith('adapters.'))
  model.loadStateDict(
    new Map(
      added.map(({ name, shape }, i) => [
        name,
        {
          data: random(
            shape.reduce((a, b) => a * b, 1),
            i
          ),
          shape
        }
      ])
    )
  )
}

/** x + up(act(down(x))) over the last hidden state, by hand. */
function adapted(state: Float32Array, parameters: ReadonlyMap<string, Float32Array>, task: string): Float32Array {
  const of = (name: string) => parameters.get(`adapters.${task}.${name}`) as Float32Array
  const [down, downBias, up, upBias] = [
    'down_project.weight',
    'down_project.bias',
    'up_project.weight',
    'up_project.bias'
  ].map(of) as [Float32Array, Float32Array, Float32Array, Float32Array]
  const size = downBias.length
  const out = Float32Array.from(state)
  for (let token = 0; token < state.length / hidden; token++) {
    const x = state.subarray(token * hidden, (token + 1) * hidden)
    const inner = Array.from({ length: size }, (_, j) =>
      Math.max(
        0,
        x.reduce((sum, value, i) => sum + value * (down[j * hidden + i] ?? 0), downBias[j] ?? 0)
      )
    )
    for (let i = 0; i < hidden; i++) {
      out[token * hidden + i] =
        (out[token * hidden + i] ?? 0) +
        inner.reduce((sum, value, j) => sum + value * (up[i * size + j] ?? 0), upBias[i] ?? 0)
    }
  }
  return out
}

test('each task has an adapter on the final output; a task without one gives the base output', async (t) => {
  const model = await load(t)
  const base = (await model.forward({ inputIds })).lastHiddenState?.data as Float32Array
  const multi = new MultiTaskAdapterModel(model, tasks)
  t.deepEqual(multi.tasks, ['sst2', 'qqp'])
  const names = model.namedParameters().flatMap(({ name }) => (name.startsWith('adapters.') ? [name] : []))
  t.deepEqual(
    names.slice(0, 4),
    ['down_project.weight', 'down_project.bias', 'up_project.weight', 'up_project.bias'].map(
      (name) => `adapters.sst2.${name}`
    )
  )
  t.is(names.length, 8)
  const outputOf = async (task: Parameters<typeof multi.forward>[1]) =>
    (await multi.forward({ inputIds }, task)).lastHiddenState?.data as Float32Array
  t.deepEqual(await outputOf('sst2'), base)
  fill(model)
  t.deepEqual(await outputOf('mnli'), base)
  t.deepEqual(await outputOf(null), base)
  const sst2 = await outputOf('sst2')
  // One row's tokens: the others are padding in this tensor.
  const one = { inputIds: [inputIds[0] as number[]] }
  const state = (await model.forward(one)).lastHiddenState?.data as Float32Array
  const got = (await multi.forward(one, 'sst2')).lastHiddenState?.data as Float32Array
  t.true(largestDifference(got, adapted(state, snapshot(model), 'sst2')) < 1e-5)
  // Every row its own task, in one pass.
  const mixed = await outputOf(inputIds.map((_, row) => (row % 3 === 0 ? 'sst2' : row % 3 === 1 ? 'qqp' : 'mnli')))
  const qqp = await outputOf('qqp')
  const width = base.length / inputIds.length
  inputIds.forEach((_, row) => {
    const expected = row % 3 === 0 ? sst2 : row % 3 === 1 ? qqp : base
    const part = (values: Float32Array) => values.subarray(row * width, (row + 1) * width)
    t.true(largestDifference(part(mixed), part(expected)) < 1e-6)
  })
})

test('training a task moves its adapter and head alone; the head reads first tokens or all alike', async (t) => {
  const model = await load(t)
  const multi = new MultiTaskAdapterModel(model, tasks)
  for (const task of multi.tasks) model.addClassificationHead(task, { numLabels: 2 })
  multi.trainTask('qqp')
  t.is(model.activeHead, 'qqp')
  const own = trainableNames(model)
  t.deepEqual(own.filter((name) => !name.startsWith('heads.')).length, 4)
  const before = snapshot(model)
  await new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 3 } }).train()
  t.deepEqual(moved(before, snapshot(model)).sort(), own.sort())
  const short = await multi.forward({ inputIds }, 'qqp')
  const long = await multi.forward({ inputIds }, 'qqp', { outputHiddenStates: true })
  t.true(largestDifference(short.logits?.data ?? [], long.logits?.data ?? []) < 1e-6)
})

test('its adapters are stacked, saved and loaded as others are', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  new MultiTaskAdapterModel(model, tasks)
  model.addAdapter('seq')
  fill(model)
  await model.saveAdapter(folder, 'sst2')
  const other = await AutoModel.fromPretrained(model.source as string)
  t.teardown(() => other.dispose())
  t.is(await other.loadAdapter(folder), 'sst2')
  const state = async (which: typeof model, adapters: string | Stack) =>
    (await which.forward({ inputIds }, { adapters })).lastHiddenState?.data ?? []
  t.deepEqual(await state(other, 'sst2'), await state(model, 'sst2'))
  // Each behind what stands before it: the adapter in the layers, then the one on their output.
  const one = { inputIds: [inputIds[0] as number[]] }
  const below = (await model.forward(one, { adapters: 'seq' })).lastHiddenState?.data as Float32Array
  const both = (await model.forward(one, { adapters: Stack('seq', 'sst2') })).lastHiddenState?.data ?? []
  t.true(largestDifference(both, adapted(below, snapshot(model), 'sst2')) < 1e-5)
  t.true(largestDifference(await state(model, Stack('qqp', 'sst2')), await state(model, Stack('sst2', 'qqp'))) > 1e-4)
  t.is(model.adapterSummary().adapters[0]?.parameters, 2 * hidden * 6 + 6 + hidden)
})

test('what cannot be a task is refused, and none is left behind', async (t) => {
  const model = await load(t)
  t.throws(() => new MultiTaskAdapterModel(model, {}), { instanceOf: TypeError })
  t.throws(() => new MultiTaskAdapterModel(model, { a: { adapterSize: 4, hiddenSize: 31 } }), {
    instanceOf: RangeError
  })
  t.throws(() => new MultiTaskAdapterModel(model, { a: { adapterSize: 4 }, 'b.c': { adapterSize: 4 } }), {
    instanceOf: TypeError
  })
  t.is(model.adapters.size, 0)
  t.throws(() => new OutputAdapterConfig({ adapterSize: 0 }), { instanceOf: RangeError })
  const multi = new MultiTaskAdapterModel(model, { a: { adapterSize: 4 } })
  t.throws(() => multi.trainTask('b'), { instanceOf: TypeError })
})

test('tasks in the spelling of Python are the same; others are named with what is known', async (t) => {
  const model = await load(t)
  new MultiTaskAdapterModel(model, { q: { hidden_size: hidden, adapter_size: 8, activation: 'gelu' } })
  t.deepEqual(model.adapters.get('q'), new OutputAdapterConfig({ adapterSize: 8, activation: 'gelu' }))
  const refused = (config: object, message: RegExp) =>
    t.throws(() => new MultiTaskAdapterModel(model, { r: config as never }), { message })
  refused({ hidden_size: hidden + 1, adapter_size: 8 }, /r\.hiddenSize: expected the model's, 32/)
  refused({ adapter_size: 8, adapterSize: 8 }, /'adapterSize' is given in two spellings/)
  refused({ rank: 8 }, /taskConfigs\.r: unknown option 'rank'\. Known: hiddenSize, adapterSize, activation/)
  t.deepEqual([...model.adapters.keys()], ['q'])
})

/** A safetensors file of these values. */
function writeTensors(
  file: string,
  values: ReadonlyMap<string, { data: Float32Array; shape: readonly number[] }>
): void {
  let end = 0
  const header: Record<string, object> = {}
  for (const [name, { data, shape }] of values) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + data.byteLength] }
    end += data.byteLength
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const bytes = [...values.values()].map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  writeFileSync(file, Buffer.concat([length, json, ...bytes]))
}

test('the whole module has the names of PyTorch’s state_dict, and loads from a file of them', async (t) => {
  const tasks = { sst2: { adapterSize: 6 }, qqp: { adapterSize: 4 } }
  for (const folder of ['bert-tiny', 'gpt2-tiny']) {
    const open = () => AutoModel.fromPretrained(join(fixtures, 'models', folder))
    const [from, to] = [await open(), await open()]
    t.teardown(() => [from, to].map((one) => one.dispose()))
    const [multi, other] = [new MultiTaskAdapterModel(from, tasks), new MultiTaskAdapterModel(to, tasks)]
    fill(from)
    const values = multi.stateDict()
    const bare = from.stateDict({ modelClass: folder === 'bert-tiny' ? 'BertModel' : 'GPT2Model' })
    const parts = ['down_project.weight', 'down_project.bias', 'up_project.weight', 'up_project.bias']
    const adapters = Object.keys(tasks).flatMap((task) => parts.map((part) => `adapters.${task}.${part}`))
    t.deepEqual(
      [...values.keys()].sort(),
      [...[...bare.keys()].map((name) => `base_model.${name}`), ...adapters].sort()
    )
    const changed = [...values].map(
      ([name, { data, shape }], i): [string, { data: Float32Array; shape: readonly number[] }] => [
        name,
        { data: name.startsWith('base_model.') ? data.map((value) => value + 0.01 * (i + 1)) : data, shape }
      ]
    )
    const file = join(scratch(t), 'multi.safetensors')
    writeTensors(file, new Map(changed))
    await other.loadWeights(file)
    for (const [name, { data }] of changed) t.deepEqual(other.stateDict().get(name)?.data, data, name)
    writeTensors(file, new Map(changed.slice(1)))
    await t.throwsAsync(other.loadWeights(file), {
      code: 'ERR_STATE_DICT',
      message: /missing 'base_model\.(embeddings\.word_embeddings|wte)\.weight'\. /
    })
    // Names are the file's, not those that the model has them by.
    writeTensors(file, new Map([...changed].map(([name, value]) => [name.replace('base_model.', ''), value])))
    await t.throwsAsync(other.loadWeights(file), {
      message: /missing 'base_model\.[^;]*; unexpected '(?!base_model)[^;]*$/
    })
  }
})
