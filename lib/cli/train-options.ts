import type { parseCommand } from './arguments.js'

/** Options of `train` that are training arguments. */
export const trainOptions = {
  epochs: { type: 'string' },
  'max-steps': { type: 'string' },
  'batch-size': { type: 'string' },
  'max-tokens': { type: 'string' },
  'group-by-length': { type: 'boolean', default: false },
  'learning-rate': { type: 'string' },
  'head-learning-rate': { type: 'string' },
  'warmup-ratio': { type: 'string' },
  'warmup-steps': { type: 'string' },
  'weight-decay': { type: 'string' },
  optim: { type: 'string' },
  'optim-args': { type: 'string' },
  'lr-scheduler': { type: 'string' },
  'lr-scheduler-args': { type: 'string' },
  best: { type: 'string' },
  'early-stopping': { type: 'string' },
  seed: { type: 'string' },
  save: { type: 'string' },
  tensorboard: { type: 'boolean', default: false },
  resume: { type: 'boolean', default: false },
  'resume-from': { type: 'string' },
  set: { type: 'string', multiple: true, default: [] as string[] }
} as const

/** Options of `train` for several tasks alone. */
export const tasksOptions = {
  tasks: { type: 'string' },
  mode: { type: 'string' },
  sampler: { type: 'string' }
} as const

export type TrainValues = ReturnType<typeof parseCommand<typeof trainOptions>>['values']

export const trainUsage = `  --epochs N              default 3
  --max-steps N           stop after N steps
  --batch-size N          rows of a batch. Default 16
  --max-tokens N          tokens of a batch, instead of --batch-size
  --group-by-length       rows of about one length make a batch
  --learning-rate X       default 1e-4; with --tune full 5e-5
  --head-learning-rate X  the head's own. Default: --learning-rate
  --warmup-ratio X        share of the steps in which the learning rate climbs. Default 0
  --warmup-steps N        the same as a number of steps
  --weight-decay X        default 0
  --optim NAME            adamw, sgd, adafactor or lion. Default adamw
  --optim-args A=X,...    what sgd and adafactor can be told, such as momentum=0.9,nesterov=true
  --lr-scheduler NAME     how the learning rate goes on, by transformers' names, such as cosine. Default linear
  --lr-scheduler-args A=X,...  what the schedule can be told, such as numCycles=3
  --best METRIC           the result is the model of the best evaluation by METRIC: loss, accuracy, ... Default: the
                          last
  --early-stopping N      end after N evaluations in a row that are no better by METRIC, or by the loss
  --seed N                default 42
  --save STRATEGY         no, epoch, steps or best. Default no
  --tensorboard           write TensorBoard's event files, too`

/** Arguments that have an option of their own: two values for one would leave open which of them counts. */
export const optionOf: Readonly<Record<string, keyof TrainValues | 'output'>> = {
  ...{ numTrainEpochs: 'epochs', maxSteps: 'max-steps', perDeviceTrainBatchSize: 'batch-size', seed: 'seed' },
  ...{ learningRate: 'learning-rate', warmupRatio: 'warmup-ratio', weightDecay: 'weight-decay', saveStrategy: 'save' },
  ...{ maxTokensPerBatch: 'max-tokens', groupByLength: 'group-by-length', warmupSteps: 'warmup-steps' },
  ...{ optim: 'optim', optimArgs: 'optim-args', lrSchedulerType: 'lr-scheduler' },
  ...{ lrSchedulerKwargs: 'lr-scheduler-args', parameterGroups: 'head-learning-rate' },
  ...{ metricForBestModel: 'best', loadBestModelAtEnd: 'best', earlyStoppingPatience: 'early-stopping' },
  ...{ outputDir: 'output', loggingDir: 'output', reportTo: 'tensorboard', resumeFromCheckpoint: 'resume-from' }
}

/** These are more than the argument, or more than one value: where the result goes, what adapters start from, … */
export const onlyAsOption: readonly string[] = [
  ...['outputDir', 'loggingDir', 'reportTo', 'seed', 'resumeFromCheckpoint'],
  ...['optimArgs', 'lrSchedulerKwargs', 'parameterGroups', 'loadBestModelAtEnd', 'metricForBestModel']
]
