import { readFileSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import test from 'ava'
import { evalFiles } from '../../lib/cli/eval-sets.js'
import { command, scratch } from './command.js'
import { writeLabelledRows } from './labelled-rows.js'
import { tinyModel as model } from './tiny-model.js'

const place = scratch()
const rows = join(place, 'rows.jsonl')
const few = join(place, 'few.jsonl')
const short = ['--model', model, '--threads', '1', '--train', rows, '--epochs', '2', '--learning-rate', '0.02']

test.before(() => {
  writeLabelledRows(rows)
  writeFileSync(few, readFileSync(rows, 'utf8').split('\n').slice(0, 7).join('\n'))
})

const linesOf = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test('--eval takes one file, or several by their names', (t) => {
  t.is(evalFiles(undefined), undefined)
  t.is(evalFiles(['a.jsonl']), 'a.jsonl')
  t.deepEqual(evalFiles(['dev=a.jsonl']), { dev: 'a.jsonl' })
  t.deepEqual(evalFiles(['dev=a.jsonl', 'far=b/c=d.csv']), { dev: 'a.jsonl', far: 'b/c=d.csv' })
  const odd = join(place, 'x=y.jsonl')
  writeFileSync(odd, '')
  t.is(evalFiles([odd]), odd)
  t.throws(() => evalFiles(['dev=a.jsonl', 'b.jsonl']), { message: /each has a name, --eval NAME=FILE, got b\.jsonl/ })
  t.throws(() => evalFiles(['dev=a.jsonl', 'dev=b.jsonl']), { message: /expected each name once, got 'dev' twice/ })
})

test('train measures each set, the best by one of them, and its folder repeats the run', async (t) => {
  const [folder, again] = [join(place, 'sets'), join(place, 'again')]
  const page = join(place, 'curves.html')
  const sets = ['--eval', `dev=${relative(process.cwd(), rows)}`, '--eval', `few=${few}`]
  const best = ['--best', 'eval_few_macro_f1', '--report', page]
  const trained = await command(['train', ...short, ...sets, ...best, '-o', folder, '--json'])
  t.is(trained.status, 0, trained.errors)
  const events = linesOf(trained.output)
  const evaluations = events.filter(({ type }) => type === 'evaluate')
  t.is(evaluations.length, 2)
  for (const { loss, metrics, rows: count } of evaluations) {
    t.is(count, 55)
    t.true(Math.abs(loss - (metrics.dev_loss + metrics.few_loss) / 2) < 1e-12)
    t.true('dev_accuracy' in metrics && 'few_macro_f1' in metrics, Object.keys(metrics).join())
  }
  t.is(events.find(({ type }) => type === 'end').best.metric, 'few_macroF1')
  t.regex(readFileSync(page, 'utf8'), /Evaluation few_macroF1/)
  const kept = JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8'))
  t.deepEqual(kept.eval, { dev: resolve(rows), few: resolve(few) })
  const repeated = await command(['train', join(folder, 'train.json'), '-o', again, '--json'])
  t.is(repeated.status, 0, repeated.errors)
  const last = (all: ReturnType<typeof linesOf>) => all.filter(({ type }) => type === 'evaluate').at(-1).metrics
  t.deepEqual(last(linesOf(repeated.output)), last(events))
  // Options take the place of all that a config has.
  const other = await command([
    'train',
    join(folder, 'train.json'),
    '-o',
    again,
    '--overwrite',
    '--eval',
    few,
    '--json'
  ])
  t.is(other.status, 2)
  t.regex(other.errors, /--best: no evaluation has 'few_macroF1'\. .*macroF1/)
})

test('tasks, a sweep and a fusion take several sets, and mistakes are told', async (t) => {
  const folder = join(place, 'tasks')
  const tasks = join(place, 'tasks.json')
  const task = { train: rows, eval: { dev: rows, few } }
  writeFileSync(tasks, JSON.stringify({ a: task, b: { train: rows, eval: few } }))
  const shared = [
    '--model',
    model,
    '--threads',
    '1',
    '--max-steps',
    '2',
    '--eval-strategy',
    'steps',
    '--eval-steps',
    '2'
  ]
  const ofTasks = await command(['train', ...shared, '--tasks', tasks, '-o', folder, '--json'])
  t.is(ofTasks.status, 0, ofTasks.errors)
  const [a, b] = linesOf(ofTasks.output).filter(({ type }) => type === 'evaluate')
  t.true('few_loss' in a.metrics && 'accuracy' in b.metrics)
  t.deepEqual(JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')).tasks.a.eval, task.eval)
  const sets = ['--eval', `dev=${rows}`, '--eval', `few=${few}`]
  const sweep = ['sweep', ...shared, '--train', rows, ...sets, '--vary', 'learningRate=1e-2,1e-4', '--best', 'dev_loss']
  const swept = await command([...sweep, '-o', join(place, 'sweep'), '--json'])
  t.is(swept.status, 0, swept.errors)
  t.is(linesOf(swept.output).at(-1).members[0].best.metric, 'dev_loss')
  const adapters = ['a', 'b'].flatMap((name) => ['--adapter', join(folder, name)])
  const fused = await command([
    'fuse',
    ...shared,
    '--train',
    rows,
    ...adapters,
    ...sets,
    '-o',
    join(place, 'fused'),
    '--json'
  ])
  t.is(fused.status, 0, fused.errors)
  t.true('dev_accuracy' in linesOf(fused.output).find(({ type }) => type === 'evaluate').metrics)

  const config = join(place, 'none.yaml')
  writeFileSync(config, 'eval: {}')
  const cases: [string[], RegExp][] = [
    [[...short, '--eval', rows, '--eval', few], /--eval: of several files each has a name, --eval NAME=FILE/],
    [[...short, '--eval', 'dev=nowhere.jsonl'], /--eval: nowhere\.jsonl does not exist/],
    [[...short, ...sets, '--best', 'accuracy'], /--best: no evaluation has 'accuracy'/],
    [[config, ...short], /none\.yaml: config\.eval: expected a file of rows, or several by their names/]
  ]
  for (const [argv, message] of cases) {
    const { status, errors } = await command(['train', ...argv, '-o', join(place, 'never')])
    t.is(status, 2, errors)
    t.regex(errors, message)
  }
})
