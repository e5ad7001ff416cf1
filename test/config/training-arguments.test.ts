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
    message: "args: 'evaluationStrategy' is called 'evalStrategy' here"
  })
  t.throws(() => trainingArguments({ num_train_epochs: 3 } as never), { message: /Did you mean 'numTrainEpochs'\?/ })
  t.throws(() => trainingArguments({ learningrate: 1 } as never), { message: /Did you mean 'learningRate'\?/ })
  t.throws(() => trainingArguments({ bf16: true } as never), { code: 'ERR_UNSUPPORTED', message: /'bf16'/ })
})

test('wrong values', (t) => {
  const cases: [object, RegExp][] = [
    [{ maxSteps: -2 }, /args\.maxSteps: expected an integer from 0, got -2/],
    [{ numTrainEpochs: 0 }, /args\.numTrainEpochs: expected a number above 0/],
    [{ learningRate: Number.NaN }, /args\.learningRate/],
    [{ learningRate: 1e39 }, /args\.learningRate: expected a number at least 0 and at most 1e\+30/],
    [{ weightDecay: 1e39 }, /args\.weightDecay: expected/],
    [{ warmupRatio: 1.1 }, /at most 1/],
    [{ lrSchedulerType: 'exponential' }, /'linear', 'cosine', 'cosine_with_restarts', 'polynomial', 'constant'/],
    [{ saveStrategy: true }, /args\.saveStrategy: expected one of/],
    [{ perDeviceTrainBatchSize: 2.5 }, /positive integer, got 2\.5/],
    [{ outputDir: '' }, /not empty/],
    [{ labelSmoothingFactor: 1 }, /below 1/],
    [{ evalAccumulationSteps: 0 }, /args\.evalAccumulationSteps: expected a positive integer/],
    [{ saveStrategy: 'best' }, /args\.saveStrategy: it needs evaluations/]
  ]
  for (const [args, message] of cases) t.throws(() => trainingArguments(args as never), { message })
  t.throws(() => trainingArguments(null as never), { instanceOf: TypeError })
})

test("maxSteps 0 is none, as Hugging Face's", (t) => {
  t.deepEqual(trainingArguments({ maxSteps: 0 }), trainingArguments())
})

test("null is the default where Hugging Face's is None", (t) => {
  const none = { outputDir: null, lrSchedulerKwargs: null, optimArgs: null, evalSteps: null, reportTo: null } as const
  for (const given of [{}, { loggingSteps: 20 }, { recipe: 'careful' }] as const) {
    t.deepEqual(trainingArguments({ ...given, ...none }), trainingArguments(given))
  }
})

test('schedules: what each takes, and what some need', (t) => {
  const of = (lrSchedulerType: string, lrSchedulerKwargs: object = {}, learningRate = 0.01) =>
    trainingArguments({ lrSchedulerType, lrSchedulerKwargs, learningRate } as never)
  t.deepEqual(of('polynomial', { power: 2, lrEnd: undefined }).lrSchedulerKwargs, { power: 2 })
  const cases: [string, object, RegExp][] = [
    ['linear', { numCycles: 1 }, /'linear' does not take 'numCycles'\. It takes: none/],
    ['cosine', { power: 1 }, /'cosine' does not take 'power'\. It takes: numCycles/],
    ['cosine', { num_cycles: 1 }, /lrSchedulerKwargs: unknown option 'num_cycles'\. Did you mean 'numCycles'/],
    ['polynomial', { lrEnd: 0.01 }, /lrEnd: expected a number below learningRate, which is 0\.01/],
    ['cosine_with_min_lr', {}, /needs either minLr or minLrRate/],
    ['cosine_with_min_lr', { minLr: 0.001, minLrRate: 0.1 }, /needs either minLr or minLrRate/],
    ['warmup_stable_decay', {}, /needs numDecaySteps/],
    ['warmup_stable_decay', { numDecaySteps: 2, decayType: 'sqrt' }, /decayType: expected one of .*'1-sqrt'/]
  ]
  for (const [type, kwargs, message] of cases) t.throws(() => of(type, kwargs), { message }, type)
})

test('reduce_lr_on_plateau: what it needs, and what it cannot have', (t) => {
  const of = (own: object) =>
    trainingArguments({ lrSchedulerType: 'reduce_lr_on_plateau', evalStrategy: 'epoch', learningRate: 0.01, ...own })
  t.is(of({}).metricForBestModel, 'loss')
  t.is(of({}).greaterIsBetter, false)
  const groups = [{ match: 'head', learningRate: 1 }]
  const cases: [object, RegExp][] = [
    [{ evalStrategy: 'no' }, /args\.lrSchedulerType: it needs evaluations/],
    [{ warmupSteps: 2 }, /has no warm-up/],
    [{ lrSchedulerKwargs: { factor: 1 } }, /factor: expected a number above 0 and below 1/],
    [{ lrSchedulerKwargs: { minLr: 0.01 } }, /minLr: expected a number below learningRate/],
    [{ lrSchedulerKwargs: { minLr: 0.001 }, parameterGroups: groups }, /minLr is for one learning rate/],
    [{ lrSchedulerKwargs: { power: 1 } }, /does not take 'power'\. It takes: factor, patience/]
  ]
  for (const [own, message] of cases) t.throws(() => of(own), { message })
})

test("optimizers by their own names and by transformers'", (t) => {
  const of = (optim: string, optimArgs: object | string = {}) => trainingArguments({ optim, optimArgs } as never)
  t.is(trainingArguments().optim, 'adamw')
  t.is(of('adamw_torch_fused').optim, 'adamw')
  t.is(of('lion_32bit').adamBeta2, 0.99)
  t.is(trainingArguments({ optim: 'lion', adamBeta2: 0.98 }).adamBeta2, 0.98)
  const cases: [string, object | string, RegExp][] = [
    ['adamw_bnb_8bit', {}, /args\.optim: expected one of 'adamw', .*got 'adamw_bnb_8bit'/],
    ['adamw', { momentum: 0.9 }, /'adamw' does not take 'momentum'.*adamBeta1 and adamBeta2/],
    ['sgd', { beta1: 0.9 }, /'sgd' does not take 'beta1'\. It takes momentum, dampening, nesterov/],
    ['sgd', { nesterov: true }, /nesterov needs momentum above 0/],
    ['sgd', { momentun: 0.9 }, /Did you mean 'momentum'/],
    ['sgd', 'momentum=0.9', /optimArgs: expected an object, such as \{ momentum: 0\.9 \}, got 'momentum=0\.9'/],
    ['adafactor', { decayRate: 0.8 }, /optimArgs\.decayRate: expected a number below 0/]
  ]
  for (const [optim, args, message] of cases) t.throws(() => of(optim, args), { message }, optim)
})

test('groups of parameters', (t) => {
  const of = (...parameterGroups: object[]) => trainingArguments({ parameterGroups } as never).parameterGroups
  const groups = of({ match: 'head', learningRate: 1e-3 }, { match: /bias$/, weightDecay: 0 })
  t.deepEqual(groups, [
    { match: 'head', learningRate: 1e-3 },
    { match: /bias$/, weightDecay: 0 }
  ])
  t.true(Object.isFrozen(groups))
  const cases: [object, RegExp][] = [
    [{ match: 'heads', learningRate: 1 }, /parameterGroups\[0\]\.match: .*Did you mean 'head'/],
    [
      { match: '/down/', learningRate: 1 },
      /\.match: .* or in JavaScript a RegExp, such as \/adapter_down\/, got '\/down\/'/
    ],
    [{ match: 'head' }, /parameterGroups\[0\]: expected learningRate, weightDecay or both/],
    [{ match: 'head', lr: 1 }, /unknown option 'lr'/],
    [{ match: 'head', learningRate: -1 }, /learningRate: expected a number at least 0/]
  ]
  for (const [group, message] of cases) t.throws(() => of(group), { message })
  t.throws(() => trainingArguments({ parameterGroups: { match: 'head' } } as never), { instanceOf: TypeError })
})

test('a recipe stands in place of the defaults, and what is given before it', (t) => {
  const args = trainingArguments({ recipe: 'careful', numTrainEpochs: 2 })
  t.like(args, {
    recipe: 'careful',
    learningRate: 1e-4,
    warmupRatio: 0.1,
    perDeviceTrainBatchSize: 16,
    numTrainEpochs: 2
  })
  t.is(trainingArguments().learningRate, 5e-5)
  t.throws(() => trainingArguments({ recipe: 'adaptr' as never }), { message: /args\.recipe.*Did you mean 'adapter'/ })
})
