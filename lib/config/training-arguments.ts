import { AdapterError } from '../native/errors.js'
import { type BestModelArguments, bestModel, bestModelDefaults, bestModelRules, checkBestModel } from './best-model.js'
import * as check from './check.js'
import { type ClassWeights, classWeights } from './class-weights.js'
import { explainArgument, reasonAgainst } from './foreign-arguments.js'
import {
  checkOptimizer,
  type OptimizerArguments,
  type OptimizerName,
  type OptimizerSpelling,
  optimizerArguments,
  optimizerName
} from './optimizer-arguments.js'
import { checkDecay, checkRate, type ParameterGroup, parameterGroups } from './parameter-groups.js'
import { adapterTrainingStrategy, type TrainingStrategy, trainingStrategies } from './recipes.js'
import { type ReportTarget, type ReportTo, reportTo } from './report-to.js'
import {
  checkSchedule,
  isPlateau,
  type LrSchedulerKwargs,
  type SchedulerType,
  schedulerKwargs,
  schedulerTypes
} from './scheduler-arguments.js'

export type Strategy = 'no' | 'steps' | 'epoch'

/** best: after each evaluation that is better than all before, by metricForBestModel; of several that train, of any. */
export type SaveStrategy = Strategy | 'best'

/** What a trainer's `args` are: TrainingArguments with every field that was left out filled in. Frozen. */
export interface ResolvedTrainingArguments extends BestModelArguments {
  /** Where to begin, as adapterTrainingStrategy has it: its arguments in place of the defaults below. Default null. */
  readonly recipe: TrainingStrategy | null
  /** Folder for checkpoints. Default 'trainer_output'. */
  readonly outputDir: string
  /** Passes over the training data; a fraction ends within one. Default 3. */
  readonly numTrainEpochs: number
  /** Optimizer steps; above 0 it overrides numTrainEpochs; 0 is -1. Default -1. */
  readonly maxSteps: number
  /** Rows in one forward pass while training. Default 8. */
  readonly perDeviceTrainBatchSize: number
  /**
   * Tokens in one forward pass while training, instead of perDeviceTrainBatchSize: as many rows as fit, there being no
   * padding; a longer row is a batch alone. Each batch weighs alike, as everywhere. Default null.
   */
  readonly maxTokensPerBatch: number | null
  /** Rows of about the same length make a batch, the longest of all come first in an epoch; needs shuffle. Default false. */
  readonly groupByLength: boolean
  /** Rows in one forward pass while evaluating. Default 8. */
  readonly perDeviceEvalBatchSize: number
  /**
   * Batches of an evaluation whose answers wait where they were computed and leave the device together; an abort waits for
   * them, too. Results do not depend on it. Default null: each batch's leave at once, since measures keep counts here and
   * not answers (Hugging Face keeps all of them until the end).
   */
  readonly evalAccumulationSteps: number | null
  /**
   * Batches whose gradients are averaged into one optimizer step, each counting as much as the others, however many rows or
   * labels it has. Default 1.
   */
  readonly gradientAccumulationSteps: number
  /** Highest learning rate of the schedule. Default 5e-5; adapters like 1e-4 to 1e-2. */
  readonly learningRate: number
  /** Parameters with a learning rate or weight decay of their own, such as `{ match: 'head', learningRate: 1e-3 }`. Default none. */
  readonly parameterGroups: readonly ParameterGroup[]
  /** Share of the learning rate by which weights shrink (sgd: L2); never biases or LayerNorm. Default 0. */
  readonly weightDecay: number
  /** adamw (transformers' adamw_torch), sgd, adafactor as transformers' Trainer has it, or lion. Default 'adamw'. */
  readonly optim: OptimizerName
  /** What sgd and adafactor can be told beside it. Default {}. */
  readonly optimArgs: OptimizerArguments
  /** Of adamw and lion. Default 0.9. */
  readonly adamBeta1: number
  /** Of adamw and lion. Default 0.999, with lion its paper's 0.99. */
  readonly adamBeta2: number
  /** Default 1e-8. */
  readonly adamEpsilon: number
  /** Gradients with a larger norm are scaled down to it; 0: never. Default 1. */
  readonly maxGradNorm: number
  /** How the learning rate goes on after warm-up. Default 'linear': down to 0. */
  readonly lrSchedulerType: SchedulerType
  /** What the schedule can be told, such as `{ numCycles: 3 }` of cosine_with_restarts. Default {}. */
  readonly lrSchedulerKwargs: LrSchedulerKwargs
  /** Share of all steps during which the learning rate climbs from 0. Default 0. */
  readonly warmupRatio: number
  /** Steps of warm-up; above 0 it overrides warmupRatio. Default 0. */
  readonly warmupSteps: number
  /**
   * Share of a label's weight that goes to all labels alike, in the loss of the run's evaluations, too; of heads that choose
   * one of several, not of values or of several labels a row. Default 0.
   */
  readonly labelSmoothingFactor: number
  /**
   * How much labels of each class count in the loss, as torch.nn.CrossEntropyLoss's weight, with label smoothing too. The
   * run's evaluations have the same loss, a mean over all rows by these weights; evaluate() counts all alike. Default null:
   * all alike.
   */
  readonly classWeights: ClassWeights | null
  /**
   * Share of the words that a masked_lm head has to guess in rows without labels, as transformers' language-model collator
   * hides them: 80 % become the mask, 10 % a random word, 10 % stay; others in each epoch. Default 0.15.
   */
  readonly mlmProbability: number
  /** When log events come. Default 'steps'. */
  readonly loggingStrategy: Strategy
  /** Steps between log events; below 1 a share of all steps. Default 500. */
  readonly loggingSteps: number
  /** Also log step 1. Default false. */
  readonly loggingFirstStep: boolean
  /** Folder for what reportTo names. Default null: outputDir. */
  readonly loggingDir: string | null
  /**
   * Files about the run, kept up to date while it goes on: 'jsonl' (events.jsonl), 'html' (report.html, the curves and
   * the parameter table), 'tensorboard' (event files), 'all' of them or 'none'. Default 'none'; Hugging Face's is 'all'.
   */
  readonly reportTo: readonly ReportTarget[]
  /** When checkpoints are written; with 'steps' and 'epoch' behind the last step, too. Default 'steps'. */
  readonly saveStrategy: SaveStrategy
  /** Steps between checkpoints, below 1 a share of all. Default 500. */
  readonly saveSteps: number
  /** Checkpoints kept, the oldest go first; null: all. Default null. */
  readonly saveTotalLimit: number | null
  /** When the evaluation data is run. Default 'no'. */
  readonly evalStrategy: Strategy
  /** Steps between evaluations, below 1 a share of all. Default: loggingSteps. */
  readonly evalSteps: number
  /** No evaluation before so many epochs, or steps where evalStrategy is 'steps'. Default 0. */
  readonly evalDelay: number
  /** Evaluate before the first step, too; what is the best is not decided by it. Default false. */
  readonly evalOnStart: boolean
  /** For dropout and, without dataSeed, shuffling. Default 42. */
  readonly seed: number
  /** For shuffling and masking. Default null: seed. */
  readonly dataSeed: number | null
  /** A new order of the rows in each epoch. Default true. */
  readonly shuffle: boolean
  /**
   * Where the training data is a stream, and nowhere else: rows that wait for their turn, any of which may be next. Default
   * null: they keep their order.
   */
  readonly shuffleBufferSize: number | null
  /**
   * Leave out a last batch that is not full, while training; an evaluation reads every row, where transformers leaves its
   * last one out, too. Default false.
   */
  readonly dataloaderDropLast: boolean
  /** A checkpoint's folder, or true: the newest in outputDir. Default null. */
  readonly resumeFromCheckpoint: string | boolean | null
  /**
   * Computes once what layers give that no adapter and nothing that trains stands in, from the first layer on, and keeps
   * it on disk: every later epoch, evaluation and run over the same text reads it. Dropout does not act in those layers.
   * Default false.
   */
  readonly frozenLayerCache: boolean | FrozenLayerCache
}

export interface FrozenLayerCache {
  /** Several runs may share it. Default: 'frozen-layers' in outputDir. */
  readonly folder?: string | undefined
  /**
   * Of all files in the folder, which take no more than half of what the disk has free; where they are full, rows are
   * computed anew. Default 4 GiB.
   */
  readonly maxBytes?: number | undefined
  /** On disk; bfloat16 takes half the room and rounds to 8 bits. Default 'float32'. */
  readonly dtype?: 'float32' | 'bfloat16' | undefined
}

/**
 * Hugging Face's TrainingArguments in camelCase, with its defaults; all may be left out. null, where Hugging Face's default is
 * None, means the default.
 */
export type TrainingArguments = {
  readonly [K in keyof ResolvedTrainingArguments]?:
    | (K extends 'optim' ? OptimizerSpelling : K extends 'reportTo' ? ReportTo : ResolvedTrainingArguments[K])
    | (K extends 'outputDir' | 'optimArgs' | 'lrSchedulerKwargs' | 'evalSteps' ? null : never)
    | undefined
}

const defaults: ResolvedTrainingArguments = Object.freeze({
  ...bestModelDefaults,
  recipe: null,
  outputDir: 'trainer_output',
  numTrainEpochs: 3,
  maxSteps: -1,
  perDeviceTrainBatchSize: 8,
  maxTokensPerBatch: null,
  groupByLength: false,
  perDeviceEvalBatchSize: 8,
  evalAccumulationSteps: null,
  gradientAccumulationSteps: 1,
  learningRate: 5e-5,
  parameterGroups: [],
  weightDecay: 0,
  optim: 'adamw',
  optimArgs: {},
  adamBeta1: 0.9,
  adamBeta2: 0.999,
  adamEpsilon: 1e-8,
  maxGradNorm: 1,
  lrSchedulerType: 'linear',
  lrSchedulerKwargs: {},
  warmupRatio: 0,
  warmupSteps: 0,
  labelSmoothingFactor: 0,
  classWeights: null,
  mlmProbability: 0.15,
  loggingStrategy: 'steps',
  loggingSteps: 500,
  loggingFirstStep: false,
  loggingDir: null,
  reportTo: [],
  saveStrategy: 'steps',
  saveSteps: 500,
  saveTotalLimit: null,
  evalStrategy: 'no',
  evalSteps: 500,
  evalDelay: 0,
  evalOnStart: false,
  seed: 42,
  dataSeed: null,
  shuffle: true,
  shuffleBufferSize: null,
  dataloaderDropLast: false,
  resumeFromCheckpoint: null,
  frozenLayerCache: false
})

const strategies = ['no', 'steps', 'epoch'] as const

/** For each argument what checks it. */
export const trainingRules: check.FieldRules<ResolvedTrainingArguments> = {
  recipe: (name, value) => (value === null ? null : check.checkOneOf(name, value, trainingStrategies)),
  outputDir: (name, value) => (value === null ? defaults.outputDir : check.checkNonEmptyString(name, value)),
  numTrainEpochs: (name, value) => check.checkNumber(name, value, { above: 0 }),
  // 0 is none in Hugging Face's Trainer, too.
  maxSteps: (name, value) => (value === -1 ? -1 : check.checkInteger(name, value, 0) || -1),
  perDeviceTrainBatchSize: check.checkPositiveInteger,
  maxTokensPerBatch: (name, value) => (value === null ? null : check.checkPositiveInteger(name, value)),
  groupByLength: check.checkBoolean,
  perDeviceEvalBatchSize: check.checkPositiveInteger,
  evalAccumulationSteps: (name, value) => (value === null ? null : check.checkPositiveInteger(name, value)),
  gradientAccumulationSteps: check.checkPositiveInteger,
  learningRate: checkRate,
  weightDecay: checkDecay,
  parameterGroups,
  optim: optimizerName,
  optimArgs: optimizerArguments,
  adamBeta1: (name, value) => check.checkNumber(name, value, { from: 0, below: 1 }),
  adamBeta2: (name, value) => check.checkNumber(name, value, { from: 0, below: 1 }),
  adamEpsilon: (name, value) => check.checkNumber(name, value, { from: 0 }),
  maxGradNorm: (name, value) => check.checkNumber(name, value, { from: 0 }),
  lrSchedulerType: (name, value) => check.checkOneOf(name, value, schedulerTypes),
  lrSchedulerKwargs: schedulerKwargs,
  warmupRatio: (name, value) => check.checkNumber(name, value, { from: 0, to: 1 }),
  warmupSteps,
  labelSmoothingFactor: (name, value) => check.checkNumber(name, value, { from: 0, below: 1 }),
  classWeights,
  mlmProbability: (name, value) => check.checkNumber(name, value, { above: 0, to: 1 }),
  loggingStrategy: (name, value) => check.checkOneOf(name, value, strategies),
  loggingSteps: stepsOrShare,
  loggingFirstStep: check.checkBoolean,
  loggingDir: (name, value) => (value === null ? null : check.checkNonEmptyString(name, value)),
  reportTo,
  saveStrategy: (name, value) => check.checkOneOf(name, value, [...strategies, 'best']),
  saveSteps: stepsOrShare,
  saveTotalLimit: (name, value) => (value === null ? null : check.checkPositiveInteger(name, value)),
  evalStrategy: (name, value) => check.checkOneOf(name, value, strategies),
  // Undefined is filled in by loggingSteps, whatever that will be.
  evalSteps: (name, value) => (value === null ? undefined : stepsOrShare(name, value)) as number,
  evalDelay: (name, value) => check.checkNumber(name, value, { from: 0 }),
  evalOnStart: check.checkBoolean,
  ...bestModelRules,
  seed: (name, value) => check.checkInteger(name, value, 0),
  dataSeed: (name, value) => (value === null ? null : check.checkInteger(name, value, 0)),
  shuffle: check.checkBoolean,
  shuffleBufferSize: (name, value) => (value === null ? null : check.checkPositiveInteger(name, value)),
  dataloaderDropLast: check.checkBoolean,
  resumeFromCheckpoint: (name, value) => {
    if (value === null || typeof value === 'boolean') return value
    if (typeof value !== 'string')
      throw check.typeError(name, "true for the newest, or a checkpoint's folder", value, { type: 'string' })
    return check.checkNonEmptyString(name, value)
  },
  frozenLayerCache
}

function stepsOrShare(name: string, value: unknown): number {
  const expected = 'a positive integer, or below 1 a share of all steps'
  const share = { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 }
  const schema = { anyOf: [{ type: 'integer', minimum: 1 }, share] }
  if (typeof value !== 'number') throw check.typeError(name, expected, value, schema)
  if (value > 0 && (value < 1 || Number.isSafeInteger(value))) return value
  throw check.rangeError(name, expected, value)
}

function warmupSteps(name: string, value: unknown): number {
  if (typeof value === 'number' && value > 0 && value < 1) {
    throw check.rangeError(name, `an integer from 0, or as a share of all steps warmupRatio: ${value}`, value)
  }
  return check.checkInteger(name, value, 0)
}

const cacheRules: check.FieldRules<FrozenLayerCache> = {
  folder: check.checkNonEmptyString,
  maxBytes: (name, value) => {
    if (typeof value === 'number') return check.checkPositiveInteger(name, value)
    throw check.typeError(name, 'a number of bytes, such as 4 * 2 ** 30', value, { type: 'integer', minimum: 1 })
  },
  dtype: (name, value) => check.checkOneOf(name, value, ['float32', 'bfloat16'])
}

function frozenLayerCache(name: string, value: unknown): boolean | FrozenLayerCache {
  if (typeof value === 'boolean') return value
  if (check.isPlainObject(value)) return check.checkFields(name, value, cacheRules)
  const fields =
    "{ folder: a path, maxBytes: of all files, dtype: 'float32' or 'bfloat16' }, each of which may be left out"
  const expected = `true (on disk, in 'frozen-layers' of outputDir), false, or an object: ${fields}`
  throw check.typeError(name, expected, value, check.fieldsSchema(cacheRules))
}

/** Checks what is given and fills in the rest. */
export function trainingArguments(input: TrainingArguments = {}): ResolvedTrainingArguments {
  const args = commonArguments(input)
  checkMoving(args)
  checkBatches(args, input)
  checkBestModel(args, args)
  return args
}

/**
 * The same of arguments that are for several: whether they fit together shows where each of those has put its own in their
 * place.
 */
export function commonArguments(input: TrainingArguments = {}): ResolvedTrainingArguments {
  const given = check.checkObject('args', input)
  for (const name of Object.keys(given)) {
    const reason = reasonAgainst(name)
    if (reason !== undefined) refuse(name, reason)
  }
  const own = check.checkFields('args', given, trainingRules, explainArgument)
  const start = own.recipe ? adapterTrainingStrategy(own.recipe) : {}
  const fields: ResolvedTrainingArguments = { ...defaults, ...start, ...own }
  return Object.freeze({
    ...fields,
    ...bestModel(fields, fields),
    evalSteps: input.evalSteps ?? fields.loggingSteps,
    adamBeta2: input.adamBeta2 ?? (fields.optim === 'lion' ? 0.99 : fields.adamBeta2)
  })
}

/** Whether schedule and optimizer take what they are told. */
export function checkMoving(args: ResolvedTrainingArguments): void {
  checkSchedule(args.lrSchedulerType, args.lrSchedulerKwargs, args.learningRate)
  checkOptimizer(args.optim, args.optimArgs)
  checkPlateau(args)
}

function checkPlateau({
  lrSchedulerType,
  lrSchedulerKwargs,
  parameterGroups,
  ...args
}: ResolvedTrainingArguments): void {
  if (!isPlateau({ lrSchedulerType })) return
  if (args.warmupSteps > 0 || args.warmupRatio > 0) {
    throw check.valueError('args.lrSchedulerType', `'${lrSchedulerType}' has no warm-up, in transformers neither`)
  }
  if ((lrSchedulerKwargs.minLr ?? 0) === 0 || parameterGroups.every((group) => group.learningRate === undefined)) return
  throw check.valueError('args.lrSchedulerKwargs', 'minLr is for one learning rate, and parameterGroups has others')
}

function checkBatches(args: ResolvedTrainingArguments, input: TrainingArguments): void {
  if (args.groupByLength && !args.shuffle) {
    throw check.valueError('args.groupByLength', 'it sorts stretches of a random order: it needs shuffle')
  }
  if (args.maxTokensPerBatch === null) return
  const other = input.perDeviceTrainBatchSize === undefined ? 'dataloaderDropLast' : 'perDeviceTrainBatchSize'
  if (other === 'dataloaderDropLast' && !args.dataloaderDropLast) return
  throw check.valueError(
    'args.maxTokensPerBatch',
    `batches of so many tokens have no ${batchWords[other]}: leave out ${other}`
  )
}

const batchWords = { perDeviceTrainBatchSize: 'number of rows', dataloaderDropLast: 'full size' }

function refuse(name: string, reason: string): never {
  throw new AdapterError('ERR_UNSUPPORTED', 'read the training arguments', `'${name}' is no argument here: ${reason}`)
}
