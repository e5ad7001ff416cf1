import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { type Case, Group } from '../parity/support/fixtures.js'
import { command, fixtures, scratch } from './command.js'

const folder = join(fixtures, 'peft/bert-regex-rslora')
const model = join(fixtures, 'models/bert-tiny')

test.serial('inspect tells a PEFT folder, for people and for programs', async (t) => {
  const { status, output, errors } = await command(['inspect', folder])
  t.is(errors, '')
  t.is(status, 0)
  t.regex(output, /PEFT adapter 'bert-regex-rslora'\n {2}method {8}LoRA: r=2, alpha=3 \/ √r, dropout=0\.1/)
  t.regex(output, /at {12}4 Linears: output\.dense, self\.query/)
  t.regex(output, /stored whole {2}classifier\.bias, classifier\.weight/)
  t.regex(output, /task {10}SEQ_CLS\n {2}trained on {4}bert-tiny\n {2}written by {4}peft 0\.21\.0/)
  const { peft } = JSON.parse((await command(['inspect', '--json', folder])).output)
  t.like(peft, { name: 'bert-regex-rslora', config: { method: { type: 'LORA', r: 2 }, taskType: 'SEQ_CLS' } })
  t.is(peft.weights.tensors.length, 10)
})

test.serial('predict and evaluate answer with it', async (t) => {
  const group = new Group<Case>('peft')
  const one = group.cases.find(({ name }) => name === 'bert-regex-rslora')
  const rows = join(scratch(), 'rows.jsonl')
  writeFileSync(
    rows,
    (one?.input.inputIds ?? []).map((ids) => `${JSON.stringify({ input_ids: ids, label: 0 })}\n`).join('')
  )
  const answers = await command(['predict', '--model', model, '--adapter', folder, '--input', rows])
  t.is(answers.status, 0, answers.errors)
  const got = answers.output
    .trim()
    .split('\n')
    .flatMap((line) => JSON.parse(line).logits as number[])
  const expected = [...group.tensor(one?.expected.logits ?? '').data]
  t.is(got.length, expected.length)
  t.true(got.every((value, i) => Math.abs(value - (expected[i] ?? Number.NaN)) < 1e-5))
  const measured = await command(['evaluate', '--model', model, '--adapter', `sst=${folder}`, '--data', rows, '--json'])
  t.is(JSON.parse(measured.output).adapter, 'sst')
})

test.serial('convert writes the other of PEFT’s formats', async (t) => {
  const target = join(scratch(), 'converted')
  const { status, output, errors } = await command(['convert', folder, target, '--format', 'bin'])
  t.is(status, 0, errors)
  t.regex(output, /adapter_model\.bin\n.*adapter_config\.json/)
  t.deepEqual(readFileSync(join(target, 'adapter_config.json')), readFileSync(join(folder, 'adapter_config.json')))
  const back = await command(['inspect', '--json', target])
  t.is(JSON.parse(back.output).peft.weights.tensors.length, 10)
  const named = await command(['convert', folder, join(scratch(), 'b'), '--name', 'b'])
  t.is(named.status, 2)
  t.regex(named.errors, /PEFT keeps no name/)
})

test.serial('--problem-type says of a head what a PEFT folder does not', async (t) => {
  const rows = join(scratch(), 'rows.jsonl')
  writeFileSync(rows, `${JSON.stringify({ input_ids: [5, 6, 7] })}\n`)
  const given = ['--model', model, '--input', rows, '--problem-type', 'multi_label_classification']
  const several = await command(['predict', ...given, '--adapter', folder])
  t.is(several.status, 0, several.errors)
  t.deepEqual(Object.keys(JSON.parse(several.output)).sort(), ['labels', 'logits', 'scores'])
  const hub = await command(['predict', ...given, '--adapter', join(fixtures, 'folders/bert-seq_bn-bin')])
  t.is(hub.status, 2)
  t.regex(hub.errors, /--problem-type is for an --adapter of PEFT, and there is none/)
  const wrong = await command(['predict', '--model', model, '--input', rows, '-a', folder, '--problem-type', 'several'])
  t.is(wrong.status, 2)
  t.regex(wrong.errors, /--problem-type: expected one of/)

  const [written, target] = [join(scratch(), 'lora'), join(scratch(), 'of-hub')]
  using base = await AutoModel.fromPretrained(model)
  base.addAdapter('a', 'lora[r=2]')
  base.addClassificationHead('a', { numLabels: 3, layers: 1, usePooler: true })
  await base.saveAdapter(written, 'a', { library: 'peft' })
  const type = ['--problem-type', 'multi_label_classification']
  const converted = await command(['convert', written, target, '--library', 'adapters', '--model', model, ...type])
  t.is(converted.status, 0, converted.errors)
  t.regex(readFileSync(join(target, 'head_config.json'), 'utf8'), /"head_type": "multilabel_classification"/)
  t.is((await command(['convert', folder, join(scratch(), 'other'), ...type])).status, 2)
})
