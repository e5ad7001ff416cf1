import test from 'ava'
import { trainingArguments } from '../../lib/config/training-arguments.js'

test('the defaults are those of Hugging Face', (t) => {
  // transformers 4.57.6, training_args.py.
  t.like(trainingArguments(), {
    outputDir: 'trainer_output',
    numTrainEpochs: 3,
    maxSteps: -1,
    perDeviceTrainBatchSize: 8,
    perDeviceEvalBatchSize: 8,
    gradientAccumulationSteps: 1,
    learningRate: 5e-5,
    weightDecay: 0,
    adamBeta1: 0.9,
    adamBeta2: 0.999,
    adamEpsilon: 1e-8,
    maxGradNorm: 1,
    lrSchedulerType: 'linear',
    warmupRatio: 0,
    warmupSteps: 0,
    loggingSteps: 500,
    saveStrategy: 'steps',
    saveSteps: 500,
    evalStrategy: 'no',
    seed: 42
  })
})

test('the example of the adapter library, in camelCase', (t) => {
  const args = trainingArguments({
    outputDir: './adapter_output',
    numTrainEpochs: 5,
    perDeviceTrainBatchSize: 16,
    learningRate: 1e-3,
    warmupRatio: 0.1,
    weightDecay: 0.01,
    loggingSteps: 100,
    saveStrategy: 'epoch',
    evalStrategy: 'epoch'
  })
  t.is(args.learningRate, 1e-3)
  t.is(args.evalSteps, 100)
  t.true(Object.isFrozen(args))
})

test('undefined leaves the default', (t) => {
  t.is(trainingArguments({ seed: undefined, evalSteps: undefined }).seed, 42)
})

test('misspelled and old names', (t) => {
  t.throws(() => trainingArguments({ evaluationStrategy: 'epoch' } as never), {
    message: "args: 'evaluationStrategy' is now called 'evalStrategy'"
  })
  t.throws(() => trainingArguments({ num_train_epochs: 3 } as never), { message: /Did you mean 'numTrainEpochs'\?/ })
  t.throws(() => trainingArguments({ learningrate: 1 } as never), { message: /Did you mean 'learningRate'\?/ })
  t.throws(() => trainingArguments({ bf16: true } as never), { code: 'ERR_UNSUPPORTED', message: /'bf16'/ })
})

test('wrong values', (t) => {
  const cases: [object, RegExp][] = [
    [{ maxSteps: 0 }, /args\.maxSteps: expected a positive integer, got 0/],
    [{ numTrainEpochs: 0 }, /args\.numTrainEpochs: expected a number above 0/],
    [{ learningRate: Number.NaN }, /args\.learningRate/],
    [{ warmupRatio: 1.1 }, /at most 1/],
    [{ lrSchedulerType: 'polynomial' }, /'linear', 'cosine', 'constant'/],
    [{ saveStrategy: true }, /args\.saveStrategy: expected one of/],
    [{ perDeviceTrainBatchSize: 2.5 }, /positive integer, got 2\.5/],
    [{ outputDir: '' }, /not empty/],
    [{ labelSmoothingFactor: 1 }, /below 1/]
  ]
  for (const [args, message] of cases) t.throws(() => trainingArguments(args as never), { message })
  t.throws(() => trainingArguments(null as never), { instanceOf: TypeError })
})
