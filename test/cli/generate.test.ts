import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { command, fixtures, scratch } from './command.js'

const base = join(fixtures, 'models/gpt2-tiny')

test.serial('rows go on as in the API, each with its own adapter and that one’s head', async (t) => {
  const folder = scratch()
  using model = await AutoModel.fromPretrained(base)
  for (const name of ['a', 'b']) {
    model.addAdapter(name, 'seq_bn[reduction_factor=2]')
    if (name === 'b') model.addCausalLmHead(name, { layers: 2 })
    await model.saveAdapter(join(folder, name), name)
  }
  const input = join(folder, 'rows.jsonl')
  const rows = [
    { id: 1, input_ids: [7, 8, 9] },
    { id: 2, input_ids: [5], adapter: 'b' },
    { input_ids: [6, 7], adapter: null },
    { id: 'x', input_ids: [9, 8], adapter: 'a' }
  ]
  writeFileSync(input, rows.map((row) => JSON.stringify(row)).join('\n'))
  const adapters = ['a', 'b'].flatMap((name) => ['--adapter', join(folder, name)])
  const how = ['--max-new-tokens', '4', '--eos-token-id', 'none']
  const { status, output, errors } = await command([
    ...['generate', '--model', base, ...adapters, '--input', input, ...how, '--batch-size', '3']
  ])
  t.is(status, 0, errors)
  const lines = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.deepEqual(
    lines.map(({ id }) => id),
    [1, 2, undefined, 'x']
  )
  for (const [i, row] of rows.entries()) {
    const adapter = row.adapter === undefined ? 'a' : row.adapter
    const [expected] = await model.generate([{ inputIds: row.input_ids }], {
      ...{ maxNewTokens: 4, eosTokenId: null, adapters: adapter, head: adapter === 'b' ? 'b' : null }
    })
    t.deepEqual(lines[i].ids, [...(expected?.ids ?? [])], `row ${i}`)
  }
  const streamed = await command([
    ...['generate', '--model', base, ...adapters, '--input', input, ...how, '--batch-size', '3', '--stream']
  ])
  t.is(streamed.status, 0, streamed.errors)
  const tokens = streamed.output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  for (const [i, line] of lines.entries()) {
    const own = tokens.filter(({ row }) => row === i)
    t.deepEqual(
      own.map(({ id, token, done }) => ({ id, token, done })),
      line.ids.map((token: number, at: number) => ({ id: line.id, token, done: at === 3 }))
    )
  }
  const target = join(folder, 'out.jsonl')
  const draws = ['--do-sample', '--temperature', '2', '--top-k', '0', '--top-p', '0.9', '--seed', '5']
  const told = await command([
    ...['generate', '--model', base, '--input', input, '--output', target, '--json', ...adapters, ...draws, ...how]
  ])
  t.like(JSON.parse(told.output), { rows: 4, output: target, adapters: ['a', 'b'] })
  const drawn = readFileSync(target, 'utf8')
  t.is(drawn.trim().split('\n').length, 4)
  // However many rows are written at a time.
  const apart = await command([
    ...['generate', '--model', base, '--input', input, ...adapters, ...draws, ...how, '--batch-size', '1']
  ])
  t.is(apart.output, drawn)
})

test.serial('mistakes are told before any work', async (t) => {
  const input = join(scratch(), 'rows.jsonl')
  writeFileSync(input, '{"input_ids": [5]}\n')
  const refuses = async (args: readonly string[], message: RegExp, expected = 2) => {
    const { status, errors } = await command(['generate', '--input', input, ...args])
    t.is(status, expected, errors)
    t.regex(errors, message)
  }
  await refuses([], /--model is missing/)
  await refuses(['--model', base, '--top-p', '2'], /topP/)
  await refuses(['--model', base, '--max-new-tokens', '0'], /positive integer/)
  await refuses(['--model', base, '--eos-token-id', 'end'], /a token's id or 'none'/)
  await refuses(
    ['--model', join(fixtures, 'models/bert-tiny')],
    /^torch-adapters generate: this model does not write/,
    1
  )
})
