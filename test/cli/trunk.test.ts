import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Random } from '../../lib/data/random.js'
import { command, fixtures, scratch } from './command.js'

const place = scratch()
const rows = join(place, 'rows.jsonl')
const model = ['--model', join(fixtures, 'models/bert-tiny'), '--threads', '1']

test.before(() => {
  const random = Random.fromSeed(1)
  const lines = Array.from({ length: 24 }, (_, id) => {
    const yes = random.nextBelow(2) === 1
    return JSON.stringify({ id, input_ids: [5 + random.nextBelow(80), yes ? 91 : 92], label: yes ? 'yes' : 'no' })
  })
  writeFileSync(rows, `${lines.join('\n')}\n`)
})

test.serial('train, inspect, resume and predict with a bfloat16 trunk', async (t) => {
  const folder = join(place, 'narrow')
  const trained = await command([
    ...['train', ...model, '--train', rows, '--output', folder, '--trunk', 'bfloat16', '--epochs', '2'],
    ...['--save', 'epoch', '--json']
  ])
  t.is(trained.status, 0, trained.errors)
  t.is(JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')).trunk, 'bfloat16')
  const start = JSON.parse(readFileSync(join(folder, 'events.jsonl'), 'utf8').split('\n')[0] ?? '')
  t.is(start.model.trunk, 'bfloat16')
  const seen = await command(['inspect', join(folder, 'checkpoints', 'checkpoint-2')])
  t.regex(seen.output, /^ {2}trunk +bfloat16$/m)
  const resumed = await command(['resume', folder, '--epochs', '2'])
  t.is(resumed.status, 0, resumed.errors)
  const other = await command([
    ...['train', ...model, '--train', rows, '--output', join(place, 'other'), '--trunk', 'float32', '--epochs', '2'],
    ...['--save', 'epoch', '--resume-from', join(folder, 'checkpoints', 'checkpoint-2')]
  ])
  t.is(other.status, 1)
  t.regex(other.errors, /trunk "bfloat16"/)
  const predicted = await command([
    ...['predict', ...model, '--adapter', folder, '--input', rows, '--output', join(place, 'out.jsonl')],
    ...['--trunk', 'bfloat16']
  ])
  t.is(predicted.status, 0, predicted.errors)
})

test.serial('auto says what it measured, and the run keeps what came of it', async (t) => {
  const folder = join(place, 'auto')
  const trained = await command([
    ...['train', ...model, '--train', rows, '--output', folder, '--trunk', 'auto', '--epochs', '1', '--json']
  ])
  t.is(trained.status, 0, trained.errors)
  const told = /^trunk (float32|bfloat16): bfloat16 took [\d.]+ ms, float32 [\d.]+ ms$/m.exec(trained.errors)
  t.is(JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')).trunk, told?.[1])
  const start = JSON.parse(readFileSync(join(folder, 'events.jsonl'), 'utf8').split('\n')[0] ?? '')
  t.deepEqual(Object.keys(start.model.trunkProbe).sort(), ['bfloat16', 'float32'])
  const wrong = await command([
    ...['train', ...model, '--train', rows],
    '--output',
    join(place, 'wrong'),
    '--trunk',
    'bfloat'
  ])
  t.is(wrong.status, 2)
  t.regex(wrong.errors, /--trunk: expected one of .*did you mean 'bfloat16'/)
})

test('doctor --probe times both', async (t) => {
  const { status, output, errors } = await command(['doctor', '--probe', '--json'])
  t.is(status, 0, errors)
  const { trunk } = JSON.parse(output)
  t.true(trunk.float32 > 0 && trunk.bfloat16 > 0)
  t.is(trunk.auto, trunk.bfloat16 < 0.9 * trunk.float32 ? 'bfloat16' : 'float32')
  const { output: text } = await command(['doctor', '--probe'])
  t.regex(text, /^trunk +auto takes (float32|bfloat16): bfloat16 [\d.]+ ms, float32 [\d.]+ ms$/m)
})
