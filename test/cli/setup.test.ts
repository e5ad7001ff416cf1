import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  type AdapterSetup,
  AutoModel,
  Average,
  evaluate,
  type Model,
  MultiTask,
  Parallel,
  Split,
  Stack
} from '../../lib/index.js'
import { command, fixtures, scratch } from './command.js'

const place = scratch()
const folder = join(fixtures, 'models/bert-tiny')
const shared = ['predict', '--model', folder, '--threads', '1']
const rows = [{ input_ids: [5, 6, 7, 9, 11] }, { input_ids: [8, 6, 70, 3] }]
const input = join(place, 'rows.jsonl')
const [first, second] = [join(place, 'first'), join(place, 'second')]
const adapters = ['-a', `a=${first}`, '-a', `b=${second}`]
let model: Model

test.before(async () => {
  writeFileSync(input, rows.map((row, i) => JSON.stringify({ id: `row ${i}`, ...row })).join('\n'))
  model = await AutoModel.fromPretrained(folder)
  for (const [name, target, seed] of [
    ['a', first, 1],
    ['b', second, 2]
  ] as const) {
    model.addAdapter(name, "lora[r=4, init_weights='bert']", { seed })
    model.addClassificationHead(name, { numLabels: 2, seed })
    await model.saveAdapter(target, name)
  }
})

test.after.always(() => model.dispose())

const answersOf = (output: string) =>
  output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { id: string; adapter?: string; logits: number[] })

const expected = async (setup: AdapterSetup, of = rows): Promise<number[][]> => {
  const ids = of.map(({ input_ids }) => ({ inputIds: input_ids }))
  const answers = await model.predict(ids, { adapters: setup })
  return answers.map(({ logits }) => Array.from(logits))
}

for (const [text, setup] of [
  ['Stack[a, b]', Stack('a', 'b')],
  ['Stack[b,Stack[null, a]]', Stack('b', Stack(null, 'a'))],
  ['Average[a, b]', Average('a', 'b')],
  ['b', 'b'],
  ['{"type": "Split", "children": ["a", "b"], "splits": [2, 3]}', Split('a', 'b', { splits: [2, 3] })]
] as const) {
  test(`one setup for all rows: ${text}`, async (t) => {
    // The sizes of a Split are those of the first row.
    const own = text.includes('Split') ? rows.slice(0, 1) : rows
    const given = own === rows ? input : join(place, 'one.jsonl')
    if (own !== rows) writeFileSync(given, JSON.stringify({ id: 'row 0', ...own[0] }))
    const { status, output, errors } = await command([...shared, ...adapters, '--setup', text, '-i', given])
    t.is(status, 0, errors)
    const answers = answersOf(output)
    t.deepEqual(
      answers.map(({ id }) => id),
      own.map((_, i) => `row ${i}`)
    )
    t.deepEqual(
      answers.map(({ logits }) => logits),
      await expected(setup, own)
    )
  })
}

test('Parallel answers once for each child, a row after the other', async (t) => {
  const { status, output, errors } = await command([...shared, ...adapters, '--setup', 'Parallel[a, b]', '-i', input])
  t.is(status, 0, errors)
  const answers = answersOf(output)
  t.deepEqual(
    answers.map(({ id, adapter }) => [id, adapter]),
    [
      ['row 0', 'a'],
      ['row 0', 'b'],
      ['row 1', 'a'],
      ['row 1', 'b']
    ]
  )
  const [a0, a1, b0, b1] = await expected(Parallel('a', 'b'))
  t.deepEqual(
    answers.map(({ logits }) => logits),
    [a0, b0, a1, b1]
  )
})

test('a folder of saveAdapterSetup brings its adapters and heads', async (t) => {
  const saved = join(place, 'saved')
  await model.saveAdapterSetup(saved, Stack('a', 'b'))
  const { status, output, errors } = await command([...shared, '--setup', saved, '-i', input])
  t.is(status, 0, errors)
  t.deepEqual(
    answersOf(output).map(({ logits }) => logits),
    await expected(Stack('a', 'b'))
  )
})

test('the head that such a folder names answers, whatever heads its adapters have', async (t) => {
  const saved = join(place, 'with-head')
  model.addClassificationHead('both', { numLabels: 3, seed: 3 })
  await model.saveAdapterSetup(saved, Stack('a', 'b'), { head: 'both' })
  const { status, output, errors } = await command([...shared, '--setup', saved, '-i', input])
  t.is(status, 0, errors)
  const ids = rows.map(({ input_ids }) => ({ inputIds: input_ids }))
  const answers = await model.predict(ids, { adapters: Stack('a', 'b'), head: 'both' })
  t.deepEqual(
    answersOf(output).map(({ logits }) => logits),
    answers.map(({ logits }) => Array.from(logits))
  )
  const labelled = join(place, 'labelled.jsonl')
  writeFileSync(labelled, rows.map((row) => JSON.stringify({ ...row, label: 2 })).join('\n'))
  const measured = await command(['evaluate', '--model', folder, '--setup', saved, '-d', labelled, '--json'])
  t.is(JSON.parse(measured.output).head, 'both', measured.errors)
})

test('heads that a folder names child by child answer their rows', async (t) => {
  const saved = join(place, 'child-by-child')
  const setup = MultiTask('a', 'b')
  for (const [i, name] of ['of a', 'of b'].entries())
    model.addClassificationHead(name, { numLabels: 3 + i, seed: 5 + i })
  const head = MultiTask('of a', 'of b')
  await model.saveAdapterSetup(saved, setup, { head, withHead: false })
  const tasks = rows.map((row, i) => ({ ...row, task_id: i === 0 ? 'b' : 'a', label: 2 }))
  const file = join(place, 'tasks.jsonl')
  writeFileSync(file, tasks.map((row) => JSON.stringify(row)).join('\n'))
  const { status, output, errors } = await command([...shared, '--setup', saved, '-i', file])
  t.is(status, 0, errors)
  const ofTasks = rows.map(({ input_ids }, i) => ({ inputIds: input_ids, taskId: i === 0 ? 'b' : 'a', label: 2 }))
  model.setActiveAdapters(setup, { head })
  const answers = await model.predict(ofTasks)
  t.deepEqual(
    answers.map(({ logits }) => logits.length),
    [4, 3]
  )
  t.deepEqual(
    answersOf(output).map(({ logits }) => logits),
    answers.map(({ logits }) => Array.from(logits))
  )
  const measured = await command(['evaluate', '--model', folder, '--setup', saved, '-d', file, '--json'])
  const { loss } = await evaluate(model, ofTasks)
  t.is(JSON.parse(measured.output).loss, loss, measured.errors)
})

test('mistakes are said before anything is loaded, or by the row', async (t) => {
  const named = join(place, 'named.jsonl')
  writeFileSync(named, '{"input_ids": [5], "adapter": "a"}')
  for (const [args, code, message] of [
    [['--setup', 'Stack[a', '-i', input], 2, /expected ',' or '\]', got its end/],
    [['--setup', 'Stak[a]', '-i', input], 2, /no block 'Stak' .*Did you mean 'Stack'\?/],
    [['--setup', 'Stack[a] b', '-i', input], 2, /expected its end, got 'b'/],
    [['--setup', '{"type": "Stack"', '-i', input], 2, /--setup: expected a block as JSON/],
    [['--setup', 'Stack[a, c]', '-i', input], 2, /'c'/],
    [['--setup', 'a', '--head', first, '-i', input], 2, /--head: expected without --setup/],
    [['--setup', 'Stack[a, b]', '-i', named], 1, /named\.jsonl:1: the row names an adapter/]
  ] as const) {
    const { status, errors } = await command([...shared, ...adapters, ...args])
    t.is(status, code, errors)
    t.regex(errors, message)
  }
  const beside = await command([...shared, ...adapters, '--setup', place, '-i', input])
  t.is(beside.status, 2)
  t.regex(beside.errors, /--adapter: expected none beside the folder of a --setup/)
})
