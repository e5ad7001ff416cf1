import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { tasksOptions } from '../../lib/cli/train-options.js'
import { parseTraining, planTraining } from '../../lib/cli/train-setup.js'
import { type TrainingArguments, trainingArguments } from '../../lib/config/training-arguments.js'
import { scratch } from './command.js'

const more = {
  ...tasksOptions,
  vary: { type: 'string', multiple: true },
  adapter: { type: 'string', multiple: true }
} as const

/** What a command that trains makes of its options, and of a config where there is one. */
async function argumentsOf(argv: readonly string[], config?: object): Promise<TrainingArguments> {
  const folder = scratch()
  const file = join(folder, 'config.json')
  if (config !== undefined) writeFileSync(file, JSON.stringify(config))
  const all = ['--model', 'm', '--output', join(folder, 'out'), ...argv]
  const parsed = await parseTraining(config === undefined ? all : [file, ...all], '', more)
  if (parsed === undefined) throw new Error('help was asked for')
  return trainingArguments((await planTraining(parsed, true)).args)
}

const numbers = ({ learningRate, perDeviceTrainBatchSize, numTrainEpochs, warmupRatio }: TrainingArguments) => [
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
