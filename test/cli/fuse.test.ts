import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { compositionFromJson, formatComposition } from '../../lib/config/composition.js'
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
  const asAdapter = await command(['predict', '-m', model, '-a', whole, '-i', rows])
  t.is(asAdapter.status, 2)
  const inside = [join(whole, 'one'), join(whole, 'other')].join(', ')
  t.true(asAdapter.errors.includes(`take it as --setup ${whole}; its adapters are in ${inside}.`), asAdapter.errors)
  await interrupted(['fuse', ...shared, ...over, '-o', stopped], 'step 9,')
  const resumed = await command(['resume', stopped])
  t.is(resumed.status, 0, resumed.errors)
  for (const file of ['model_head.safetensors', 'model_adapter_fusion.safetensors']) {
    t.true(readFileSync(join(stopped, 'f', file)).equals(readFileSync(join(whole, 'f', file))), file)
  }
})

test('a fusion above an adapter that lies below all of them, as MAD-X has it; --plan writes nothing', async (t) => {
  const [language, one, two] = ['en', 'first', 'second'].map((name) => join(place, name)) as [string, string, string]
  for (const folder of [language, one, two])
    t.is((await command(['train', ...shared, '-o', folder, '--max-steps', '9'])).status, 0)
  const folder = join(place, 'above')
  const over = ['-a', one, '-a', two, '--below', language, '--eval', rows, '--epochs', '4', '--name', 'f', '-o', folder]
  const planned = await command(['fuse', ...shared, ...over, '--plan', '--json'])
  t.is(planned.status, 0, planned.errors)
  t.true(JSON.parse(planned.output).activations > 0)
  t.false(existsSync(folder))
  const trained = await command(['fuse', ...shared, ...over, '--save', 'epoch'])
  t.is(trained.status, 0, trained.errors)
  const { adapter_setup: setup } = JSON.parse(readFileSync(join(folder, 'adapter_setup.json'), 'utf8'))
  t.is(formatComposition(compositionFromJson(setup)), 'Stack[en, Fuse[first, second]]')
  t.deepEqual(JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')).below, [`en=${language}`])
  // What it read stands still, and evaluate reads the same.
  for (const name of ['en', 'first', 'second']) {
    const file = (of: string) => readFileSync(join(of, name, 'adapter.safetensors'))
    t.true(file(folder).equals(file(place)), name)
  }
  const measured = await command(['evaluate', '-m', model, '--setup', folder, '-d', rows, '--json'])
  t.is(measured.status, 0, measured.errors)
  const { loss } = JSON.parse(measured.output)
  t.regex(trained.errors, new RegExp(`step 12, epoch 4\\.00: evaluation loss ${loss.toFixed(4)}`))
  const resumed = await command(['resume', folder, '--epochs', '5'])
  t.is(resumed.status, 0, resumed.errors)
  const both = await command(['fuse', ...shared, ...over, '-o', join(place, 'no'), '--below', `first=${language}`])
  t.is(both.status, 2)
  t.regex(both.errors, /--below: what stands above it is called 'first', too/)
})

test('fields of the fusion’s config; what began a run without checkpoints begins it anew', async (t) => {
  const [one, two, folder] = ['field-one', 'field-two', 'fields'].map((name) => join(place, name)) as [
    string,
    string,
    string
  ]
  for (const each of [one, two]) await command(['train', ...shared, '-o', each, '--max-steps', '1'])
  const kind = ['--fusion', 'static[temperature=True, dropout_prob=0.1]']
  const fused = await command([
    'fuse',
    ...shared,
    '-a',
    one,
    '-a',
    two,
    '-o',
    folder,
    '--max-steps',
    '1',
    '--name',
    'f',
    ...kind
  ])
  t.is(fused.status, 0, fused.errors)
  const { config } = JSON.parse(readFileSync(join(folder, 'f', 'adapter_fusion_config.json'), 'utf8'))
  t.deepEqual([config.value, config.temperature, config.dropout_prob], [false, true, 0.1])
  rmSync(join(folder, 'checkpoints'), { recursive: true, force: true })
  rmSync(join(folder, 'events.jsonl'))
  const { errors } = await command(['resume', folder])
  const again = /anew: torch-adapters (fuse .* --overwrite)/.exec(errors)?.[1]?.split(' ') ?? []
  t.is((await command(again)).status, 0, errors)
  const nowhere = await command(['evaluate', '-m', model, '--setup', join(place, 'nowhere'), '-d', rows])
  t.regex(nowhere.errors, /--setup: there is no folder '.*nowhere'/)
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
