import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { tasksOptions } from '../../lib/cli/train-options.js'
import { parseTraining, planTraining } from '../../lib/cli/train-setup.js'
import { type ResolvedTrainingArguments, trainingArguments } from '../../lib/config/training-arguments.js'
import { repository } from '../native/support.js'
import { scratch } from './command.js'

const more = {
  ...tasksOptions,
  vary: { type: 'string', multiple: true },
  adapter: { type: 'string', multiple: true }
} as const

/** What a command that trains makes of its options, and of a config where there is one. */
async function argumentsOf(
  argv: readonly string[],
  config?: object,
  evaluates = true
): Promise<ResolvedTrainingArguments> {
  const folder = scratch()
  const file = join(folder, 'config.json')
  if (config !== undefined) writeFileSync(file, JSON.stringify(config))
  const all = ['--model', 'm', '--output', join(folder, 'out'), ...argv]
  const parsed = await parseTraining(config === undefined ? all : [file, ...all], '', more)
  if (parsed === undefined) throw new Error('help was asked for')
  return trainingArguments((await planTraining(parsed, { hasEvaluation: evaluates, check: trainingArguments })).args)
}

test('every training argument is an option under its own name, also where there is a shorter one', async (t) => {
  const short = ['--epochs', '2', '--batch-size=4', '--lr-scheduler', 'cosine', '--lr-scheduler-args', 'numCycles=2']
  const long = ['--num-train-epochs', '2', '--per-device-train-batch-size=4', '--lr-scheduler-type', 'cosine']
  const more = ['--lr-scheduler-kwargs', '{"numCycles": 2}', '--save-strategy=epoch', '--early-stopping-patience', '3']
  const ofShort = await argumentsOf([...short, '--save', 'epoch', '--early-stopping', '3'])
  const { outputDir: _, loggingDir: __, ...ofLong } = await argumentsOf([...long, ...more])
  t.like(ofShort, ofLong)
  t.like(ofLong, { numTrainEpochs: 2, perDeviceTrainBatchSize: 4, saveStrategy: 'epoch', earlyStoppingPatience: 3 })
  t.is((await argumentsOf(['--max-tokens-per-batch', '64'])).maxTokensPerBatch, 64)
  t.deepEqual((await argumentsOf(['--class-weights', '1,2.5'])).classWeights, [1, 2.5])
  t.deepEqual((await argumentsOf(['--class-weights', 'good=2,bad=1'])).classWeights, { good: 2, bad: 1 })
  t.deepEqual((await argumentsOf(['--set', 'classWeights=good=2'])).classWeights, { good: 2 })
  // As evaluate --json spells it.
  t.is((await argumentsOf(['--best', 'macro_f1'])).metricForBestModel, 'macroF1')
  t.is((await argumentsOf([], { metricForBestModel: 'eval_my_head.macro_f1' })).metricForBestModel, 'my_head.macroF1')
  t.is((await argumentsOf(['--epochs', '2', '--num-train-epochs', '5'])).numTrainEpochs, 5)
  // Each that is none says what is one.
  const isOption = async (name: string) => {
    const option = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
    try {
      await argumentsOf([`${option}=x`])
    } catch (error) {
      const { message } = error as Error
      if (message.includes('unknown option')) t.regex(message, /did you mean '--(output|resume-from)'/)
      return !message.includes('unknown option')
    }
    return true
  }
  const none: string[] = []
  for (const name of Object.keys(trainingArguments())) if (!(await isOption(name))) none.push(name)
  t.deepEqual(none.sort(), ['outputDir', 'resumeFromCheckpoint'])
})

test('what a config switches on an option switches off', async (t) => {
  const config = { groupByLength: true, tensorboard: true, loadBestModelAtEnd: true, metricForBestModel: 'accuracy' }
  t.like(await argumentsOf([], config), { ...{ groupByLength: true, loadBestModelAtEnd: true } })
  t.deepEqual((await argumentsOf([], config)).reportTo, ['jsonl', 'html', 'tensorboard'])
  const off = ['--group-by-length', 'false', '--tensorboard=false', '--load-best-model-at-end', 'false']
  const args = await argumentsOf([...off, '--metric-for-best-model', 'loss'], config)
  t.like(args, { groupByLength: false, loadBestModelAtEnd: false, metricForBestModel: 'loss' })
  t.deepEqual(args.reportTo, ['jsonl', 'html'])
  t.false((await argumentsOf(['--no-group-by-length'], config)).groupByLength)
  t.true((await argumentsOf(['--group-by-length', 'true', '--tensorboard'])).groupByLength)
  await t.throwsAsync(argumentsOf(['--group-by-length=maybe']), { message: /group-by-length/ })
})

test('what stands behind a switch is its value, unless it is a config', async (t) => {
  t.is((await argumentsOf(['--frozen-layer-cache', '--eval-on-start', 'true'])).frozenLayerCache, true)
  t.deepEqual((await argumentsOf(['--frozen-layer-cache', '{"folder": "c"}'])).frozenLayerCache, { folder: 'c' })
  const all = /args\.frozenLayerCache: expected true .*, false, or an object: \{ folder: .*\}.*, got 'disk'/
  await t.throwsAsync(argumentsOf(['--frozen-layer-cache', 'disk']), { message: all })
  await t.throwsAsync(argumentsOf(['--eval-on-start', 'yes']), {
    message: /evalOnStart: expected true or false, got 'yes'/
  })
  await t.throwsAsync(argumentsOf(['--eval-on-start', 'none.yaml']), { message: /CONFIG: none\.yaml does not exist/ })
  const file = join(scratch(), 'settings')
  writeFileSync(file, '{"learningRate": 0.5}')
  const args = await argumentsOf(['--eval-on-start', file])
  t.like(args, { learningRate: 0.5, evalOnStart: true })
})

test('of the checkpoints that nobody asked for the newest is kept, of others all', async (t) => {
  t.like(await argumentsOf([]), { saveStrategy: 'steps', saveSteps: 500, saveTotalLimit: 1 })
  t.like(await argumentsOf(['--set', 'saveSteps=20', '--set', 'saveTotalLimit=3']), {
    saveSteps: 20,
    saveTotalLimit: 3
  })
  t.like(await argumentsOf(['--save', 'epoch']), { saveStrategy: 'epoch', saveTotalLimit: null })
  t.like(await argumentsOf(['--set', 'saveStrategy=epoch']), { saveStrategy: 'epoch', saveTotalLimit: null })
  t.like(await argumentsOf([], { saveStrategy: 'epoch' }), { saveStrategy: 'epoch', saveTotalLimit: null })
  t.is((await argumentsOf(['--save', 'no'])).saveStrategy, 'no')
})

test('a switch takes a value, too', async (t) => {
  t.deepEqual((await argumentsOf(['--frozen-layer-cache', '{"dtype": "bfloat16"}'])).frozenLayerCache, {
    dtype: 'bfloat16'
  })
  t.like(await argumentsOf(['--frozen-layer-cache={"maxBytes": 8}']), { frozenLayerCache: { maxBytes: 8 } })
  t.like(await argumentsOf(['--frozen-layer-cache', '--eval-on-start', '--epochs', '2']), {
    ...{ frozenLayerCache: true, evalOnStart: true, numTrainEpochs: 2 }
  })
  t.true((await argumentsOf(['--frozen-layer-cache'])).frozenLayerCache)
  const off = await argumentsOf(['--frozen-layer-cache', 'false'], { frozenLayerCache: true })
  t.false(off.frozenLayerCache)
  await t.throwsAsync(argumentsOf(['--frozen-layer-cache', '{"dtype": "half"}']), { message: /dtype.*'bfloat16'/ })
  await t.throwsAsync(argumentsOf(['--frozen-layer-cache', '{dtype']), { message: /--frozen-layer-cache: .*JSON/ })
})

const numbers = ({ learningRate, perDeviceTrainBatchSize, numTrainEpochs, warmupRatio }: ResolvedTrainingArguments) => [
  learningRate,
  perDeviceTrainBatchSize,
  numTrainEpochs,
  warmupRatio
]

test("a recipe goes before the command line's defaults, and what is given before the recipe", async (t) => {
  t.deepEqual(numbers(await argumentsOf([])), [1e-4, 16, 3, 0])
  const whole = [1e-3, 32, 5, 0.1]
  const byOption = await argumentsOf(['--recipe', 'adapter'])
  t.deepEqual(numbers(byOption), whole)
  t.is(byOption.perDeviceEvalBatchSize, 32)
  t.deepEqual(numbers(await argumentsOf(['--set', 'recipe=adapter'])), whole)
  t.deepEqual(numbers(await argumentsOf(['--recipe', 'fusion', '--tune', 'head'])), [5e-5, 32, 10, 0.1])
  for (const of of [{}, { tasks: { a: {} } }, { sweep: { weightDecay: [0, 1] } }, { adapters: ['a', 'b'] }]) {
    t.deepEqual(numbers(await argumentsOf([], { recipe: 'adapter', ...of })), whole)
  }
  const given = ['--learning-rate', '0.02', '--batch-size', '4', '--epochs', '2']
  t.deepEqual(numbers(await argumentsOf(['--recipe', 'adapter', ...given])), [0.02, 4, 2, 0.1])
  const file = { recipe: 'adapter', learningRate: 0.03, perDeviceTrainBatchSize: 8 }
  t.deepEqual(numbers(await argumentsOf([], file)), [0.03, 8, 5, 0.1])
  t.deepEqual(numbers(await argumentsOf(['--recipe', 'careful'], { recipe: 'adapter' })), [1e-4, 16, 10, 0.1])
  t.deepEqual(numbers(await argumentsOf(['--recipe', 'null'], { recipe: 'adapter' })), [1e-4, 16, 3, 0])
  t.is((await argumentsOf(['--recipe', 'adapter', '--max-tokens', '64'])).maxTokensPerBatch, 64)
  await t.throwsAsync(argumentsOf(['--recipe', 'adaptor']), { message: /recipe.*adaptor/ })
})

test('the defaults that docs/command-line.md shows are those of the command line and of the trainer', async (t) => {
  const [, page = ''] = readFileSync(join(repository, 'docs/command-line.md'), 'utf8').split('\n## Defaults\n')
  const [table = ''] = page.split('\n## ')
  const rows = [...table.matchAll(/^\| `(\w+)` \| `--([\w-]+)` \| (.+) \| (.+) \|$/gm)]
  const [ours, trainers] = [await argumentsOf([]), trainingArguments()] as [
    ResolvedTrainingArguments,
    ResolvedTrainingArguments
  ]
  const shown = (value: unknown): string =>
    Array.isArray(value) ? value.join(', ') || 'none' : value === null ? 'all' : String(value)
  const plain = (cell = '') => (Number.isNaN(Number(cell)) ? cell : String(Number(cell)))
  for (const [, argument = '', option, here = '', there] of rows) {
    const name = argument as keyof ResolvedTrainingArguments
    t.is(plain(here.split('; ')[0]), shown(ours[name]), name)
    t.is(plain(there), shown(trainers[name]), name)
    // The option is this argument's.
    const value = { numTrainEpochs: 2, optim: 'lion', lrSchedulerType: 'cosine', reportTo: 'jsonl' }[
      argument as 'optim'
    ]
    const other = value ?? (argument.endsWith('Strategy') ? 'steps' : argument.endsWith('Ratio') ? 0.5 : 7)
    t.is(shown((await argumentsOf([`--${option}`, `${other}`]))[name]), `${other}`, option)
  }
  const told = rows.map(([, name]) => name)
  const differ = Object.entries(ours).filter(([name, value]) => shown(value) !== shown(trainers[name as 'optim']))
  const elsewhere = ['outputDir', 'loggingDir']
  t.deepEqual(
    differ.map(([name]) => name).filter((name) => !told.includes(name) && !elsewhere.includes(name)),
    []
  )
  t.is((await argumentsOf(['--tune', 'full'])).learningRate, 5e-5)
  t.is((await argumentsOf(['--batch-size', '5'])).perDeviceEvalBatchSize, 5)
  t.is((await argumentsOf([], undefined, false)).evalStrategy, 'no')
  t.is((await argumentsOf(['--save', 'epoch'])).saveTotalLimit, null)
})
