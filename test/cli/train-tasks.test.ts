import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Random } from '../../lib/data/random.js'
import { repository } from '../native/support.js'
import { command, fixtures, interrupted, scratch } from './command.js'

const place = scratch()
const model = join(repository, fixtures, 'models/bert-tiny')
const [mood, tags] = [join(place, 'mood.jsonl'), join(place, 'tags.jsonl')]

test.before(() => {
  const random = Random.fromSeed(1)
  const ids = () => [5 + random.nextBelow(80), 5 + random.nextBelow(80)]
  const rows = (of: (input_ids: number[], i: number) => object) =>
    Array.from({ length: 32 }, (_, i) => JSON.stringify(of(ids(), i))).join('\n')
  writeFileSync(
    mood,
    rows((input_ids, i) => ({ input_ids: [...input_ids, 91 + (i % 2)], label: i % 2 ? 'yes' : 'no' }))
  )
  writeFileSync(
    tags,
    rows((input_ids) => ({ input_ids, labels: input_ids.map((id) => (id > 40 ? 'HIGH' : 'LOW')) }))
  )
})

const settings = { model, threads: 1, seed: 3, learningRate: 0.02, config: 'seq_bn[reduction_factor=4]' }
const tasks = {
  mood: { train: mood, eval: mood, labels: ['yes', 'no'] },
  tags: { train: tags, eval: tags, config: { architecture: 'lora', r: 4 }, learningRate: 0.01 }
}

function write(name: string, content: object): string {
  const file = join(place, name)
  writeFileSync(file, JSON.stringify(content))
  return file
}

const adapter = (folder: string, name: string) => readFileSync(join(folder, name, 'adapter.safetensors'))

/** Trains a model on the tasks of a file. */
const onTasks = (file: string): string[] => ['train', '-m', model, '--tasks', file]

test('--plan prints what memory the tasks take, and writes nothing', async (t) => {
  const best = { metricForBestModel: 'loss', loadBestModelAtEnd: true }
  const config = write('planned.json', { ...settings, tasks, numTrainEpochs: 1, ...best })
  const folder = join(place, 'planned')
  const text = await command(['train', config, '-o', folder, '--plan'])
  t.is(text.status, 0, text.errors)
  t.regex(text.output, /^total +\d+\.\d MiB$/m)
  const { output } = await command(['train', config, '-o', folder, '--plan', '--json'])
  const plan = JSON.parse(output)
  t.is(plan.type, 'plan')
  // Both tasks are in a step: 16 rows each.
  t.is(plan.largest.rows, 32)
  t.is(plan.total, plan.parameters.total + plan.gradients + plan.optimizer + plan.activations + plan.overhead)
  t.false(existsSync(folder))
})

test('tasks in a config train side by side, each into a folder that evaluate takes; interrupted, they go on', async (t) => {
  const config = write('tasks.json', { ...settings, tasks, numTrainEpochs: 60, metricForBestModel: 'loss' })
  const [whole, stopped] = [join(place, 'whole'), join(place, 'stopped')]
  const through = await command(['train', config, '-o', whole])
  t.is(through.status, 0, through.errors)
  t.regex(
    through.errors,
    /^mood: head: classification, 2 labels \(yes, no\)\ntags: head: tagging, 2 labels \(HIGH, LOW\)$/m
  )
  t.regex(through.output, /^task 'mood': 120 steps, mean loss [\d.]+, best loss .*\ntask 'tags': 120 steps/)
  for (const [name, file] of [
    ['mood', mood],
    ['tags', tags]
  ] as const) {
    const { output, errors } = await command(['evaluate', '-m', model, '-a', join(whole, name), '-d', file, '--json'])
    const { loss } = JSON.parse(output)
    const last = errors + through.errors.split('\n').findLast((line) => line.startsWith(`${name}: step 120, epoch`))
    t.true(last.includes(`evaluation loss ${loss.toFixed(4)}`), last)
  }
  t.is(JSON.parse(readFileSync(join(whole, 'tags', 'adapter_config.json'), 'utf8')).config.architecture, 'lora')
  await interrupted(['train', config, '-o', stopped], 'step 10,')
  const resumed = await command(['resume', stopped])
  t.is(resumed.status, 0, resumed.errors)
  for (const name of ['mood', 'tags']) t.true(adapter(stopped, name).equals(adapter(whole, name)), name)
  rmSync(join(whole, 'checkpoints'), { recursive: true })
  const again = await command(['train', config, '-o', whole])
  t.is(again.status, 2)
  t.regex(
    again.errors,
    /expected a new folder, got .*whole, which holds 'mood', 'tags' of an earlier run of tasks; --overwrite/
  )
})

test('tasks of a file of their own may share an adapter', async (t) => {
  const file = write('own.json', {
    mood: { ...tasks.mood, adapter: 'shared' },
    tags: { train: tags, adapter: 'shared', config: 'seq_bn[reduction_factor=8]', weight: 0.5 }
  })
  const folder = join(place, 'shared')
  const { status, output, errors } = await command([...onTasks(file), '-o', folder, '--max-steps', '3', '--json'])
  t.is(status, 0, errors)
  t.deepEqual(Object.keys(JSON.parse(output.trim().split('\n').at(-1) ?? '').tasks), ['mood', 'tags'])
  t.true(existsSync(join(folder, 'shared', 'adapter.safetensors')))
  const { config } = JSON.parse(readFileSync(join(folder, 'shared', 'adapter_config.json'), 'utf8'))
  t.is(config.reduction_factor, 8)
  const { tasks: trained } = JSON.parse(output.trim().split('\n').at(-1) ?? '')
  for (const [name, rows] of [
    ['mood', mood],
    ['tags', tags]
  ] as const) {
    const own = join(folder, name)
    const head = ['head_config.json', 'model_head.safetensors']
    t.deepEqual(readdirSync(own), ['adapter.safetensors', 'adapter_config.json', ...head])
    const alone = await command(['evaluate', '-m', model, '-a', own, '-d', rows, '--json'])
    const above = await command([
      ...['evaluate', '-m', model, '-a', join(folder, 'shared'), '--head', own, '-d', rows, '--json']
    ])
    t.is(alone.status, 0, alone.errors)
    t.is(above.status, 2, above.errors)
    if (name === 'mood') t.true(Math.abs(JSON.parse(alone.output).loss - trained.mood.evaluation.loss) < 1e-6)
  }
})

test('tasks that give the adapter they share different configs are refused, and take the same in other words', async (t) => {
  const shared = (config: string) => ({
    mood: { train: mood, adapter: 'shared', config: 'seq_bn' },
    tags: { train: tags, adapter: 'shared', config }
  })
  const run = (config: string) => {
    const file = write('differing.json', shared(config))
    return command([...onTasks(file), '-o', join(place, 'differing'), '--max-steps', '1', '--plan'])
  }
  const { status, errors } = await run('lora')
  t.is(status, 2)
  t.regex(
    errors,
    /tasks\.tags\.config: 'shared' is one adapter, and tasks\.mood gives it another config; give both the same/
  )
  const same = await run('seq_bn[reduction_factor=16]')
  t.is(same.status, 0, same.errors)
})

test('a task is no folder of checkpoints, and none in another folder', async (t) => {
  for (const [tasks, message] of [
    [{ checkpoints: { train: mood } }, /tasks: 'checkpoints' is the folder of the run's checkpoints/],
    [{ mood: { train: mood, adapter: 'a/b' } }, /tasks: 'a\/b' becomes a folder, whose name has no \/ or \\/]
  ] as const) {
    const folder = join(place, 'never')
    const { status, errors } = await command([...onTasks(write('names.json', tasks)), '-o', folder])
    t.is(status, 2)
    t.regex(errors, message)
  }
})

test('of tasks that share an adapter the best is that of all together, by a mean over them', async (t) => {
  const task = { ...tasks.mood, adapter: 'shared' }
  const file = write('mean.json', { mood: { ...task, eval: mood }, again: { ...task, eval: mood } })
  const folder = join(place, 'mean')
  const shared = [...onTasks(file), '--max-steps', '6', '--eval-strategy', 'steps', '--eval-steps', '2']
  const trained = await command([...shared, '--best', 'eval_mean_macro_f1', '-o', folder, '--json'])
  t.is(trained.status, 0, trained.errors)
  const events = trained.output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const found = [2, 4, 6].map((step) => {
    const own = events.filter((event) => event.type === 'evaluate' && event.step === step)
    t.is(own.length, 2)
    return own.reduce((sum, { metrics }) => sum + metrics.macro_f1 / 2, 0)
  })
  const { best } = events.at(-1)
  t.is(best.metric, 'mean_macroF1')
  t.true(Math.abs(best.value - Math.max(...found)) < 1e-12)
  t.is(best.step, 2 * (1 + found.indexOf(Math.max(...found))))
  t.regex(readFileSync(join(folder, 'report.html'), 'utf8'), /best mean_macroF1/)
  const wrong = await command([...shared, '--best', 'mean_f2', '-o', join(place, 'never')])
  t.is(wrong.status, 2)
  t.regex(wrong.errors, /--best for tasks\.mood: no evaluation has 'f2'/)
})

test('--mode and --sampler, or a config, say how tasks meet; a run goes on as it was begun', async (t) => {
  const config = write('apart.json', { ...settings, tasks, mode: 'alternate', sampler: 'temperature=2' })
  const folder = join(place, 'apart')
  const run = (...more: string[]) => command(['train', config, '--max-steps', '6', '-o', folder, '--json', ...more])
  const { status, output, errors } = await run()
  t.is(status, 0, errors)
  const steps = (text: string): { steps: number }[] =>
    Object.values(JSON.parse(text.trim().split('\n').at(-1) ?? '').tasks)
  t.is(
    steps(output).reduce((sum, one) => sum + one.steps, 0),
    6
  )
  const kept = JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8'))
  t.is(kept.mode, 'alternate')
  t.deepEqual(kept.sampler, { temperature: 2 })
  const inTurn = await run('--sampler', 'round_robin', '--overwrite')
  t.deepEqual(
    steps(inTurn.output).map((one) => one.steps),
    [3, 3]
  )
  const together = await run('--sampler=round_robin', '--mode=fused', '--overwrite')
  t.deepEqual(
    steps(together.output).map((one) => one.steps),
    [6, 6]
  )
  const cases: [string[], RegExp][] = [
    [['--mode', 'fuzed'], /--mode: expected one of 'fused', 'alternate', got 'fuzed'/],
    [['--sampler', 'squareroot'], /--sampler: expected one of 'exhaustive'/],
    [
      ['--sampler', 'temprature=2'],
      /--sampler: expected one of .*, or temperature=T, got .* Did you mean 'temperature=T'\?/
    ],
    [['--sampler', 'temperature'], /--sampler: 'temperature' needs its number/],
    [['--sampler', 'temperature=0'], /--sampler\.temperature: expected a number above 0/],
    [['--mode', 'fused', '--sampler', 'sequential'], /needs mode 'alternate'/]
  ]
  for (const [options, message] of cases) {
    const wrong = await run(...options)
    t.is(wrong.status, 2, wrong.errors)
    t.regex(wrong.errors, message)
  }
  const single = await command(['train', '-m', model, '--train', mood, '--mode', 'fused', '-o', join(place, 'no')])
  t.regex(single.errors, /--mode: expected several tasks, --tasks FILE, got none/)
})

test('mistakes in tasks are named', async (t) => {
  const folder = join(place, 'never')
  const empty = join(place, 'empty.jsonl')
  writeFileSync(empty, '')
  const unlabelled = join(place, 'unlabelled.jsonl')
  writeFileSync(unlabelled, '{"text":"good"}\n')
  const mixed = join(place, 'mixed.jsonl')
  writeFileSync(mixed, '{"text":"good","label":"x"}\n{"text":"bad","label":0.5}\n')
  const cases: [object, number, RegExp][] = [
    [
      { mood: { ...tasks.mood, learningrate: 1 } },
      2,
      /tasks\.mood: unknown option 'learningrate'\. Did you mean 'learningRate'/
    ],
    [{ mood: { ...tasks.mood, saveSteps: 1 } }, 2, /tasks\.mood: 'saveSteps' is one for all tasks: give it beside/],
    [{ mood: { eval: mood } }, 2, /tasks\.mood\.train is missing/],
    [{ 'a.b': tasks.mood }, 2, /cannot hold a point/],
    [{ mood: { train: join(place, 'nowhere.jsonl') } }, 2, /--tasks\.mood\.train: .*nowhere\.jsonl does not exist/],
    [
      { mood: { train: empty } },
      1,
      /tasks\.mood\.train: .*empty\.jsonl has no rows\. Check .* --on-not-finite stopTask/
    ],
    [{ mood: { ...tasks.mood, head: 'multiple' } }, 2, /tasks\.mood/],
    [
      { mood: { ...tasks.mood, head: 'regression', labels: ['a', 'b'] } },
      2,
      /tasks\.mood\.labels: a regression head has none/
    ],
    [{ mood: { ...tasks.mood, labels: ['good'] } }, 2, /tasks\.mood\.labels: expected at least two names/],
    [{ mood: { train: unlabelled } }, 1, /tasks\.mood: .*unlabelled\.jsonl:1: this row has no label/],
    [{ mood: { train: mixed } }, 1, /tasks\.mood\.train: some labels are names and some numbers/],
    [{ mood: { ...tasks.mood, below: [join(place, 'nowhere')] } }, 2, /nowhere/],
    [{ mood: { ...tasks.mood, eval: empty } }, 1, /tasks\.mood\.eval: .*empty\.jsonl has no rows\. Check/]
  ]
  for (const [content, code, message] of cases) {
    const { status, errors } = await command([...onTasks(write('mistakes.json', content)), '-o', folder])
    t.is(status, code, errors)
    t.regex(errors, message)
  }
  const both = await command([...onTasks(write('right.json', tasks)), '--train', mood, '-o', folder])
  t.regex(both.errors, /--train: each of the tasks has its own; leave it out/)
  t.false(existsSync(folder))
})

test('a task that had no turn is not saved as trained, and that is said', async (t) => {
  const config = write('short.json', { ...settings, tasks, mode: 'alternate', sampler: 'sequential' })
  const folder = join(place, 'short')
  const { status, output, errors } = await command(['train', config, '-o', folder, '--max-steps', '1'])
  t.is(status, 0, errors)
  t.regex(output, /^task 'mood': 1 step, mean loss [\d.]+.*\ntask 'tags': no step, nothing was saved\n/)
  t.regex(errors, /task 'tags' had no turn in 1 step and learned nothing: .* Give more --max-steps/)
  t.notRegex(output + errors, /NaN/)
  t.true(existsSync(join(folder, 'mood')))
  t.false(existsSync(join(folder, 'tags')))
  const json = await command(['train', config, '-o', folder, '--max-steps', '1', '--overwrite', '--json'])
  const last = JSON.parse(json.output.trim().split('\n').at(-1) ?? '')
  t.deepEqual(last.untrained, ['tags'])
  t.is(last.tasks.tags.steps, 0)
})

test('--tasks takes a file with tasks in it; a whole config is told how it is given', async (t) => {
  const inside = write('inside.json', { $schema: 'x', tasks })
  const folder = join(place, 'inside')
  const args = ['train', '-m', model, '-o', folder, '--max-steps', '2']
  const { status, errors } = await command([...args, '--tasks', inside])
  t.is(status, 0, errors)
  const whole = write('whole.json', { ...settings, tasks })
  const told = await command([...args, '--overwrite', '--tasks', whole])
  t.is(told.status, 2)
  t.regex(
    told.errors,
    /--tasks: .*whole\.json is a whole config, with model, .* give it without --tasks, as torch-adapters train .*whole/
  )
  for (const [content, message] of [
    [{ mood: { trian: mood } }, /unknown option 'trian'\. Did you mean 'train'/],
    [{ mood: { ...tasks.mood, metricForBestModel: 'acuracy' } }, /--best for tasks\.mood: .*Did you mean 'accuracy'/],
    [{ mood: { ...tasks.mood, lr: 1 } }, /'lr' is called 'learningRate' here/]
  ] as const) {
    const wrong = await command([...args, '--overwrite', '--tasks', write('wrong.json', content)])
    t.is(wrong.status, 2, wrong.errors)
    t.regex(wrong.errors, message)
  }
})

test('--on-not-finite stopTask goes on without a task that has no rows, and says so', async (t) => {
  const empty = join(place, 'nothing.jsonl')
  writeFileSync(empty, '')
  const config = write('one-empty.json', {
    ...{ ...settings, onNotFinite: 'stopTask' },
    tasks: { ...tasks, tags: { train: empty } }
  })
  const folder = join(place, 'one-empty')
  const { status, output, errors } = await command(['train', config, '-o', folder, '--max-steps', '2'])
  t.is(status, 0, errors)
  t.regex(errors, /^tags has no rows: the others go on$/m)
  t.regex(output, /^task 'mood': 2 steps/)
  t.false(existsSync(join(folder, 'tags')))
  t.is(JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')).onNotFinite, 'stopTask')
  const json = await command(['train', config, '-o', folder, '--max-steps', '2', '--overwrite', '--json'])
  t.deepEqual(JSON.parse(json.output.trim().split('\n').at(-1) ?? '').untrained, ['tags'])
  const none = write('all-empty.json', { ...settings, onNotFinite: 'stopTask', tasks: { tags: { train: empty } } })
  t.regex((await command(['train', none, '-o', folder, '--overwrite'])).errors, /--tasks: none of them has rows/)
})

test('below: adapters that have learned before stand still under those that train, as MAD-X has it', async (t) => {
  const language = join(place, 'language')
  const common = ['-m', model, '--max-steps', '2', '--learning-rate', '0.01']
  const first = await command(['train', ...common, '--train', mood, '-o', language, '--config', 'seq_bn_inv'])
  t.is(first.status, 0, first.errors)
  const before = readFileSync(join(language, 'adapter.safetensors'))
  const single = join(place, 'above')
  const alone = await command(['train', ...common, '--train', mood, '-o', single, '--below', `en=${language}`])
  t.is(alone.status, 0, alone.errors)
  t.regex(
    alone.output,
    /it stands above en: evaluate --adapter en=\S+language --adapter \S+above --setup 'Stack\[en, above\]'/
  )
  t.deepEqual(JSON.parse(readFileSync(join(single, 'train.json'), 'utf8')).below, [`en=${language}`])
  const measured = (...setup: string[]) =>
    command(['evaluate', '-m', model, '-d', mood, '-a', `en=${language}`, '-a', single, '--json', ...setup])
  const several = await measured('--setup', 'Parallel[en, above]')
  t.is(several.status, 2)
  t.regex(several.errors, /--setup: expected one answer for each row, got Parallel\[en, above\]/)
  const stacked = await measured('--setup', 'Stack[en, above]')
  t.is(stacked.status, 0, stacked.errors)

  const config = write('madx.json', {
    ...settings,
    below: [`en=${language}`],
    tasks: { mood: tasks.mood, tags: { ...tasks.tags, below: [`de=${language}`] } }
  })
  const folder = join(place, 'madx')
  const { status, errors } = await command(['train', config, '-o', folder, '--max-steps', '3', '--save', 'epoch'])
  t.is(status, 0, errors)
  const checkpoint = join(folder, 'checkpoints')
  for (const name of ['en', 'de']) t.false(existsSync(join(folder, name)), 'what stands still is where it was')
  t.deepEqual(readFileSync(join(language, 'adapter.safetensors')), before)
  t.true(existsSync(checkpoint))
  const resumed = await command(['resume', folder, '--max-steps', '5'])
  t.is(resumed.status, 0, resumed.errors)
  for (const [more, message] of [
    [['--below', language, '--tune', 'head'], /--below: what trains above it is an adapter, got --tune head/],
    [['--below', `mood=${language}`, '--name', 'mood'], /--below: what stands above it is called 'mood', too/],
    [['--below', `a=${language}`, '--below', `a=${single}`], /--below: .* both hold an adapter named 'a'/]
  ] as const) {
    const wrong = await command(['train', ...common, '--train', mood, '-o', join(place, 'wrong'), ...more])
    t.is(wrong.status, 2, wrong.errors)
    t.regex(wrong.errors, message)
  }
})
