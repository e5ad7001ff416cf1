import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { command, fixtures, scratch } from './command.js'

const place = scratch()
const shared = ['--model', join(fixtures, 'models/bert-tiny'), '--threads', '1', '--batch-size', '4']
const adapter = ['--adapter', join(fixtures, 'folders/bert-seq_bn-bin')]
const count = 2500
const large = join(place, 'large.jsonl')
/** Far less than what the file alone has. */
const env = { NODE_OPTIONS: '--max-old-space-size=56' }

test.before(() => {
  const note = 'n'.repeat(36_000)
  const handle = openSync(large, 'w')
  for (let id = 0; id < count; id++) {
    writeSync(handle, `${JSON.stringify({ id, input_ids: [5 + (id % 80), 6], label: id % 2, note })}\n`)
  }
  closeSync(handle)
})

test.after.always(() => rmSync(large, { force: true }))

test.serial('evaluate reads a file that is larger than the memory', async (t) => {
  const { status, output, errors } = await command(['evaluate', ...shared, ...adapter, '-d', large, '--json'], { env })
  t.is(status, 0, errors)
  t.is(JSON.parse(output).rows, count)
})

test.serial('predict answers one', async (t) => {
  const answers = join(place, 'answers.jsonl')
  const { status, errors } = await command(['predict', ...shared, ...adapter, '-i', large, '-o', answers], { env })
  t.is(status, 0, errors)
  const ids = readFileSync(answers, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).id)
  t.deepEqual(
    ids,
    Array.from({ length: count }, (_, i) => i)
  )
})
