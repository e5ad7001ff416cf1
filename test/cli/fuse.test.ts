import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { repository } from '../native/support.js'
import { command, fixtures, interrupted, scratch } from './command.js'
import { writeLabelledRows } from './labelled-rows.js'

const place = scratch()
const model = join(repository, fixtures, 'models/bert-tiny')
const rows = join(place, 'rows.jsonl')
const shared = ['-m', model, '--train', rows, '--threads', '1', '--seed', '3', '--learning-rate', '0.02']

test.before(() => writeLabelledRows(rows))

test('both stages of AdapterFusion, the second interrupted and resumed; evaluate measures what came of it', async (t) => {
  const [one, two] = [join(place, 'one'), join(place, 'two')]
  for (const folder of [one, two])
    t.is((await command(['train', ...shared, '-o', folder, '--max-steps', '9'])).status, 0)
  const over = ['-a', one, '-a', `other=${two}`, '--eval', rows, '--epochs', '60', '--name', 'f']
  const [whole, stopped] = [join(place, 'whole'), join(place, 'stopped')]
  const through = await command(['fuse', ...shared, ...over, '-o', whole])
  t.is(through.status, 0, through.errors)
  t.is(through.output, `fusion 'f' over one, other with its head is in ${whole}\n`)
  const measured = await command(['evaluate', '-m', model, '--setup', whole, '-d', rows, '--json'])
  t.is(measured.status, 0, measured.errors)
  const { loss, metrics, head } = JSON.parse(measured.output)
  t.is(head, 'f')
  t.true(metrics.accuracy > 0.9)
  t.regex(through.errors, new RegExp(`step 180, epoch 60\\.00: evaluation loss ${loss.toFixed(4)}`))
  await interrupted(['fuse', ...shared, ...over, '-o', stopped], 'step 9,')
  const resumed = await command(['resume', stopped])
  t.is(resumed.status, 0, resumed.errors)
  for (const file of ['model_head.safetensors', 'model_adapter_fusion.safetensors']) {
    t.true(readFileSync(join(stopped, 'f', file)).equals(readFileSync(join(whole, 'f', file))), file)
  }
})

test('mistakes are found before a model is loaded', async (t) => {
  const folder = join(place, 'never')
  for (const [args, message] of [
    [[], /--adapter: expected at least two adapters to fuse, got 0/],
    [['-a', 'x', '-a', 'y', '--config', 'lora'], /--config: a fusion has none/],
    [['-a', 'x', '-a', 'y', '--tune', 'head'], /--tune: a fusion stands over adapters/]
  ] as const) {
    const { status, errors } = await command(['fuse', ...shared, '-o', folder, ...args])
    t.is(status, 2, errors)
    t.regex(errors, message)
  }
  t.false(existsSync(folder))
  const both = await command(['evaluate', '-m', model, '--setup', place, '--head', place, '-d', rows])
  t.is(both.status, 2)
  t.regex(both.errors, /--head: expected without --setup/)
})
