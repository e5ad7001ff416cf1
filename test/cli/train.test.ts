import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Random } from '../../lib/data/random.js'
import { command, interrupted, scratch } from './command.js'
import { tinyModel } from './tiny-model.js'

const place = scratch()
const model = tinyModel
const rows = join(place, 'rows.jsonl')
const shared = ['--model', model, '--threads', '1']

/** Rows of random ids whose last id decides the label. */
test.before(() => {
  const random = Random.fromSeed(1)
  const lines = Array.from({ length: 96 }, (_, id) => {
    const yes = random.nextBelow(2) === 1
    const input_ids = [
      ...Array.from({ length: 2 + random.nextBelow(6) }, () => 5 + random.nextBelow(80)),
      yes ? 91 : 92
    ]
    return JSON.stringify({ id, input_ids, label: yes ? 'yes' : 'no' })
  })
  writeFileSync(rows, `${lines.join('\n')}\n`)
})

const recipe = [
  '--epochs',
  '4',
  '--learning-rate',
  '0.02',
  '--config',
  'double_seq_bn[reduction_factor=2]',
  '--seed',
  '3'
]

const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test.serial('train, evaluate and predict', async (t) => {
  const folder = join(place, 'out', 'yesno')
  const report = join(place, 'curves.html')
  const trained = await command([
    'train',
    ...shared,
    '--train',
    rows,
    '--eval',
    rows,
    '-o',
    folder,
    ...recipe,
    '--report',
    report
  ])
  t.is(trained.status, 0, trained.errors)
  t.regex(trained.errors, /step 24, epoch 4\.00: evaluation loss [\d.]+, accuracy/)
  t.regex(trained.output, /adapter 'yesno' \(4,288 parameters, [\d.]+ % of the base model\) is in /)
  const page = readFileSync(report, 'utf8')
  t.regex(page, /<svg[\s\S]*Evaluation accuracy/)
  // The first curve is the training loss, a point for each of the 24 steps.
  t.is(/<polyline points="([^"]*)"/.exec(page)?.[1]?.split(' ').length, 24)
  const config = JSON.parse(readFileSync(join(folder, 'head_config.json'), 'utf8')).config
  t.deepEqual(config.label2id, { no: 0, yes: 1 })

  const measured = await command(['evaluate', ...shared, '-a', folder, '-d', rows, '--json'])
  t.is(measured.status, 0, measured.errors)
  const { metrics, rows: count } = JSON.parse(measured.output)
  t.is(count, 96)
  t.true(metrics.accuracy > 0.8, measured.output)
  t.regex(trained.errors, new RegExp(`accuracy ${metrics.accuracy.toFixed(4)}`))

  const answers = join(place, 'answers.jsonl')
  const predicted = await command([
    'predict',
    ...shared,
    '-a',
    folder,
    '-i',
    rows,
    '-o',
    answers,
    '--json',
    '--batch-size',
    '7'
  ])
  t.is(predicted.status, 0, predicted.errors)
  t.is(JSON.parse(predicted.output).rows, 96)
  const given = lines(readFileSync(rows, 'utf8'))
  const got = lines(readFileSync(answers, 'utf8'))
  t.deepEqual(
    got.map(({ id }) => id),
    given.map(({ id }) => id)
  )
  const right = got.filter(({ label }, i) => label === given[i].label).length
  t.is(right / 96, metrics.accuracy)
  t.true(
    got.every(
      ({ logits, label_id, score }) => logits.length === 2 && logits[label_id] === Math.max(...logits) && score >= 0.5
    )
  )
  t.deepEqual(
    readdirSync(place).filter((name) => name.endsWith('.part')),
    []
  )

  const printed = await command(['predict', ...shared, '-a', folder, '-i', rows])
  t.is(lines(printed.output).length, 96)
})

test.serial('--json gives every event and the result; the same seed gives the same numbers', async (t) => {
  const run = async (folder: string) => {
    const args = ['train', ...shared, '--train', rows, '-o', join(place, folder), '--name', 'a', ...recipe]
    const { status, output, errors } = await command([...args, '--max-steps', '6', '--set', 'loggingSteps=2', '--json'])
    t.is(status, 0, errors)
    return lines(output)
  }
  const events = await run('json')
  t.deepEqual(
    events.map(({ type }) => type),
    ['log', 'log', 'log', 'save', 'end', 'result']
  )
  t.deepEqual(Object.keys(events[0]).sort(), [
    'epoch',
    'grad_norm',
    'learning_rate',
    'loss',
    'rows_per_second',
    'step',
    'tokens_per_second',
    'total_steps',
    'type'
  ])
  t.is(events[5].adapter.name, 'a')
  const losses = (list: { loss?: number }[]) => list.flatMap(({ loss }) => (loss === undefined ? [] : [loss]))
  t.deepEqual(losses(await run('json-again')), losses(events))
  const file = (folder: string) => readFileSync(join(place, folder, 'adapter.safetensors'))
  t.deepEqual(file('json'), file('json-again'))
})

test.serial('interrupted, then resumed: the same adapter as without the interruption', async (t) => {
  const args = (folder: string) => [
    'train',
    ...shared,
    '--train',
    rows,
    '-o',
    join(place, folder),
    '--name',
    'a',
    ...recipe,
    '--save',
    'epoch',
    // Long enough that the signal comes before the end.
    '--epochs',
    '30'
  ]
  const whole = await command(args('whole'))
  t.is(whole.status, 0, whole.errors)
  await interrupted(args('stopped'), 'checkpoint-6')
  t.false(existsSync(join(place, 'stopped', 'adapter.safetensors')))
  const resumed = await command([...args('stopped'), '--resume'])
  t.is(resumed.status, 0, resumed.errors)
  const file = (folder: string) => readFileSync(join(place, folder, 'adapter.safetensors'))
  t.deepEqual(file('stopped'), file('whole'))
})

test.serial('arguments that neither the head nor the rows know are mistakes of the call', async (t) => {
  const values = join(place, 'values.jsonl')
  writeFileSync(values, [0.5, 0.25].map((label) => `${JSON.stringify({ text: 'good', label })}\n`).join(''))
  const args = ['train', ...shared, '--train', values, '-o', join(place, 'never')]
  const cases: [string[], RegExp][] = [
    [['--label-smoothing-factor', '0.1'], /train: --label-smoothing-factor: no head that trains chooses/],
    [['--class-weights', 'balanced'], /train: --class-weights: no head that trains has classes/],
    [['--shuffle-buffer-size', '8'], /train: --shuffle-buffer-size: it is for a stream/]
  ]
  for (const [options, message] of cases) {
    const { status, errors } = await command([...args, ...options])
    t.is(status, 2)
    t.regex(errors, message)
  }
})

test.serial('what an earlier run left is replaced only on demand', async (t) => {
  const folder = join(place, 'earlier')
  const args = ['train', ...shared, '--train', rows, '-o', folder, '--max-steps', '2']
  const first = await command([...args, '--save', 'steps', '--set', 'saveSteps=1'])
  t.is(first.status, 0, first.errors)
  const weights = () => readFileSync(join(folder, 'adapter.safetensors'))
  const before = weights()
  const again = await command([...args, '--learning-rate', '0.1'])
  t.is(again.status, 2)
  t.regex(
    again.errors,
    /expected a new folder, got .*earlier, which holds an adapter and 2 checkpoints; --overwrite .*--resume/
  )
  t.deepEqual(weights(), before)
  t.is((await command([...args, '--overwrite', '--resume'])).status, 2)
  t.true(existsSync(join(folder, 'checkpoints', 'checkpoint-2')))
  const replaced = await command([...args, '--learning-rate', '0.1', '--overwrite'])
  t.is(replaced.status, 0, replaced.errors)
  t.notDeepEqual(weights(), before)
  t.deepEqual(readdirSync(join(folder, 'checkpoints')), ['checkpoint-2'])
})

const onLinux = process.platform === 'linux' ? test.serial : test.serial.skip

onLinux('a place that no file system has is refused at once', async (t) => {
  const { status, errors } = await command(['train', ...shared, '--train', rows, '-o', '/proc/foo/bar'])
  t.is(status, 2)
  t.regex(errors, /--output: expected a folder that can be made, got \/proc\/foo\/bar/)
})

test.serial('rows choose among several adapters', async (t) => {
  const folder = (name: string) => join(place, name)
  const train = (name: string, seed: string) =>
    command(['train', ...shared, '--train', rows, '-o', folder(name), '--max-steps', '1', '--seed', seed])
  await train('first', '1')
  await train('second', '2')
  const input = join(place, 'choice.jsonl')
  const ids = [5, 6, 7]
  const choices = [{ input_ids: ids }, { input_ids: ids, adapter: 'second' }, { input_ids: ids, adapter: 'first' }]
  writeFileSync(input, choices.map((row) => JSON.stringify(row)).join('\n'))
  const both = ['predict', ...shared, '-a', folder('first'), '-a', folder('second')]
  const [none, second, first] = lines((await command([...both, '-i', input])).output).map(({ logits }) => logits)
  t.deepEqual(none, first)
  t.notDeepEqual(first, second)
  // Or by their task, as rows to train on say it.
  const answered = async (fields: readonly object[]) => {
    writeFileSync(input, fields.map((field) => JSON.stringify({ input_ids: ids, ...field })).join('\n'))
    return lines((await command([...both, '-i', input])).output).map(({ logits }) => logits)
  }
  const byTask = await answered([{}, { task_id: 'second' }, { task_id: 1 }, { task_id: '0' }])
  const byName = await answered(['first', 'second', 'second', 'first'].map((adapter) => ({ adapter })))
  t.deepEqual(byTask, byName)
  // Or by a block, as --setup takes it.
  const block = { type: 'Stack', children: ['second', 'first'] }
  const stacks = ['Stack[second, first]', block, 'Stack[first, second]'].map((adapter) => ({ adapter }))
  const [asText, asJson, other] = await answered(stacks)
  const asked = [...both, '--setup', 'Stack[second, first]', '-i', input]
  writeFileSync(input, JSON.stringify({ input_ids: ids }))
  const alone = lines((await command(asked)).output)[0]?.['logits']
  // Beside other rows the last bits may be others.
  const near = (one: unknown, two: unknown) =>
    (one as number[]).every((value, i) => Math.abs(value - ((two as number[])[i] ?? 9)) < 1e-6)
  t.true(near(asText, alone))
  t.true(near(asJson, alone))
  t.false(near(other, alone))
  writeFileSync(input, JSON.stringify({ input_ids: ids, adapter: 'Parallel[first, second]', id: 7 }))
  const [parallel] = lines((await command([...both, '-i', input])).output) as { id?: unknown; branches?: object[] }[]
  t.is(parallel?.id, 7)
  const [one, two] = (parallel?.branches ?? []) as Record<string, unknown>[]
  t.deepEqual([one?.['adapter'], two?.['adapter']], ['first', 'second'])
  t.true(near(one?.['logits'], byName[0]) && near(two?.['logits'], byName[1]))
  for (const [adapter, problem] of [
    ['Stack[first, secnd]', /:1: Stack\[first, secnd\] names 'secnd' .*Did you mean 'second'\?/],
    ['Stack[first', /:1: "adapter": /]
  ] as const) {
    writeFileSync(input, JSON.stringify({ input_ids: ids, adapter }))
    const mistaken = await command([...both, '-i', input])
    t.is(mistaken.status, 1)
    t.regex(mistaken.errors, problem)
  }
  writeFileSync(input, JSON.stringify({ input_ids: ids, adapter: 'third' }))
  const wrong = await command([...both, '-i', input])
  t.is(wrong.status, 1)
  t.regex(wrong.errors, /choice\.jsonl:1: no adapter 'third' \(expected one of 'first', 'second', or null\)/)
})

test.serial('optimizer, schedule, batches, the best model: as options', async (t) => {
  const folder = join(place, 'out', 'options')
  const trained = await command([
    ...['train', ...shared, '--train', rows, '--eval', rows, '-o', folder, '--json', '--epochs', '5', '--seed', '1'],
    ...[
      '--optim',
      'sgd',
      '--optim-args',
      'momentum=0.9,nesterov=true',
      '--learning-rate',
      '0.05',
      '--warmup-steps',
      '2'
    ],
    ...['--lr-scheduler', 'cosine_with_restarts', '--lr-scheduler-args', 'numCycles=2', '--head-learning-rate', '0.1'],
    ...[
      '--max-tokens',
      '64',
      '--group-by-length',
      '--best',
      'accuracy',
      '--early-stopping',
      '1',
      '--set',
      'loggingSteps=1'
    ]
  ])
  t.is(trained.status, 0, trained.errors)
  const all = lines(trained.output)
  const logs = all.filter(({ type }) => type === 'log')
  // After two steps of warm-up the first cycle begins at the top.
  t.deepEqual(
    logs.slice(0, 3).map((log) => log.learning_rate),
    [0, 0.025, 0.05]
  )
  const evaluations = all.filter(({ type }) => type === 'evaluate')
  const accuracies = evaluations.map(({ metrics }) => metrics.accuracy)
  const end = all.find(({ type }) => type === 'end')
  t.is(end.best.value, Math.max(...accuracies))
  t.is(end.best.metric, 'accuracy')
  const measured = await command(['evaluate', ...shared, '-a', folder, '-d', rows, '--json'])
  t.is(JSON.parse(measured.output).metrics.accuracy, end.best.value)
})

test.serial('--plan prints what memory training takes, and writes nothing', async (t) => {
  const folder = join(place, 'planned')
  const planned = ['train', ...shared, '--train', rows, '--eval', rows, '-o', folder, ...recipe, '--plan']
  const text = await command(planned)
  t.is(text.status, 0, text.errors)
  for (const name of ['parameters', 'gradients', 'optimizer', 'activations', 'total'])
    t.regex(text.output, new RegExp(`^${name} +\\d+\\.\\d MiB$`, 'm'))
  t.regex(text.output, /largest micro-batch: 16 rows, \d+ tokens\./)
  const [plan] = lines((await command([...planned, '--json'])).output)
  t.is(plan.type, 'plan')
  t.is(plan.total, plan.parameters.total + plan.gradients + plan.optimizer + plan.activations + plan.overhead)
  t.false(existsSync(folder))
})

test.serial('every training argument is an option, too; JSON is for lists and objects', async (t) => {
  const folder = join(place, 'flags')
  const events = join(place, 'flags-events')
  const trained = await command([
    ...['train', ...shared, '--train', rows, '--eval', rows, '-o', folder, '--max-steps', '4', '--json'],
    ...['--max-grad-norm', '0.5', '--eval-strategy', 'steps', '--eval-steps', '2', '--eval-on-start', '--eval-delay=3'],
    ...['--class-weights', '{"yes": 2}', '--shuffle', 'false', '--report-to', 'jsonl', '--logging-dir', events],
    ...['--parameter-groups', '[{"match": "head", "learningRate": 0.1}]', '--logging-first-step']
  ])
  t.is(trained.status, 0, trained.errors)
  const { args } = JSON.parse(readFileSync(join(events, 'events.jsonl'), 'utf8').split('\n')[0] ?? '')
  t.like(args, {
    ...{ maxGradNorm: 0.5, evalStrategy: 'steps', evalSteps: 2, evalOnStart: true, evalDelay: 3, shuffle: false },
    ...{ classWeights: { yes: 2 }, reportTo: ['jsonl'], loggingDir: events, loggingFirstStep: true },
    parameterGroups: [{ match: 'head', learningRate: 0.1 }]
  })
  t.deepEqual(
    lines(trained.output).flatMap(({ type, step }) => (type === 'evaluate' ? [step] : [])),
    [0, 4]
  )
  t.false(existsSync(join(folder, 'events.jsonl')))
  t.false(existsSync(join(events, 'report.html')))
  t.is(JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')).loggingDir, events)
})
