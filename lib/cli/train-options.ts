import { statSync } from 'node:fs'
import { snakeCase } from '../config/case.js'
import { trainingArguments } from '../config/training-arguments.js'
import type { parseCommand } from './arguments.js'

/** Options of `train` that are training arguments and have a name of their own, or more to say. */
export const trainOptions = {
  epochs: { type: 'string' },
  'max-steps': { type: 'string' },
  'batch-size': { type: 'string' },
  'max-tokens': { type: 'string' },
  'group-by-length': { type: 'boolean' },
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
  tensorboard: { type: 'boolean' },
  'parameter-groups': { type: 'string' },
  'report-to': { type: 'string' },
  'logging-dir': { type: 'string' },
  resume: { type: 'boolean', default: false },
  'resume-from': { type: 'string' },
  set: { type: 'string', multiple: true, default: [] as string[] }
} as const

/** Options of `train` for several tasks alone. */
export const tasksOptions = {
  tasks: { type: 'string' },
  mode: { type: 'string' },
  sampler: { type: 'string' },
  'on-not-finite': { type: 'string' }
} as const

export type TrainValues = ReturnType<typeof parseCommand<typeof trainOptions>>['values']

/** Arguments that have an option of their own: two values for one would leave open which of them counts. */
export const optionOf: Readonly<Record<string, keyof TrainValues | 'output'>> = {
  ...{ numTrainEpochs: 'epochs', maxSteps: 'max-steps', perDeviceTrainBatchSize: 'batch-size', seed: 'seed' },
  ...{ learningRate: 'learning-rate', warmupRatio: 'warmup-ratio', weightDecay: 'weight-decay', saveStrategy: 'save' },
  ...{ maxTokensPerBatch: 'max-tokens', groupByLength: 'group-by-length', warmupSteps: 'warmup-steps' },
  ...{ optim: 'optim', optimArgs: 'optim-args', lrSchedulerType: 'lr-scheduler' },
  ...{ lrSchedulerKwargs: 'lr-scheduler-args', parameterGroups: 'parameter-groups' },
  ...{ earlyStoppingPatience: 'early-stopping' },
  ...{ outputDir: 'output', loggingDir: 'logging-dir', reportTo: 'report-to', resumeFromCheckpoint: 'resume-from' }
}

/** These are more than the argument, or more than one value: where the result goes, what adapters start from, … */
export const onlyAsOption: readonly string[] = [
  ...['outputDir', 'loggingDir', 'reportTo', 'seed', 'resumeFromCheckpoint'],
  ...['optimArgs', 'lrSchedulerKwargs', 'parameterGroups']
]

/** Options without a value, which a config may have switched on: behind them stands true or false, too. */
const bareSwitches: readonly string[] = ['group-by-length', 'tensorboard', 'offline']

const known = trainingArguments()

/** The training arguments that --set may name. */
const settable = Object.keys(known).filter((name) => !onlyAsOption.includes(name))

const kebabCase = (name: string): string => snakeCase(name).replaceAll('_', '-')

/** --output and --resume-from are more than their arguments. */
const notTheSame: readonly string[] = ['outputDir', 'resumeFromCheckpoint']

/** The arguments' own names of options that are shorter: which option, by that name. */
const longNames: ReadonlyMap<string, string> = new Map(
  Object.entries(optionOf)
    .filter(([name]) => !notTheSame.includes(name))
    .map(([name, option]) => [kebabCase(name), option])
)

/** What parseCommand is to know of them. */
export const longOptions: readonly string[] = [...longNames.keys()]

/** Every other argument is an option under its own name: which argument, by the option. */
export const plainOptions: ReadonlyMap<string, string> = new Map(
  settable.filter((name) => !Object.hasOwn(optionOf, name)).map((name) => [kebabCase(name), name] as const)
)

/** The same as parseCommand takes them. */
export const plainOptionTypes: Readonly<Record<string, { readonly type: 'string' }>> = Object.fromEntries(
  [...plainOptions.keys()].map((option) => [option, { type: 'string' as const }])
)

/** What is off by default is on without a value. */
const isSwitch = (option: string): boolean => known[plainOptions.get(option) as keyof typeof known] === false

/** Behind a switch a config may stand; what is none, such as `yes`, is its value, and then told to be a wrong one. */
const isSwitchValue = (text: string | undefined): boolean =>
  text !== undefined && !/^-|\.(json|ya?ml)$/i.test(text) && (text.startsWith('{') || !isFile(text))

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true

/** A command line as parseCommand takes it: each option under the name that it is read by, and switches with a value. */
export function readableOptions(argv: readonly string[]): string[] {
  const all: string[] = []
  for (let i = 0; i < argv.length; i++) {
    const text = argv[i] as string
    if (text === '--') return [...all, ...argv.slice(i)]
    const [, given = '', value = ''] = /^--([^=]+)(=.*)?$/s.exec(text) ?? []
    const option = longNames.get(given) ?? given
    if (given === '') all.push(text)
    else if (bareSwitches.includes(option)) {
      const next = value === '' && /^(true|false)$/.test(argv[i + 1] ?? '') ? argv[++i] : value.slice(1)
      if (next === 'false') all.push(`--no-${option}`)
      else all.push(next === '' || next === 'true' ? `--${option}` : text)
    } else if (value !== '' || !isSwitch(option)) all.push(`--${option}${value}`)
    else all.push(`--${option}=${isSwitchValue(argv[i + 1]) ? argv[++i] : true}`)
  }
  return all
}

const describeSettings = wrap(`Arguments: ${settable.join(', ')}.`)

function wrap(text: string): string {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? ''
    if (line.length + word.length > 90) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines.map((line) => `                          ${line}`).join('\n')
}

function usageFor(forFull: string): string {
  return `  --recipe NAME           what has proved itself in place of the defaults below: adapter, careful, fusion or full
  --epochs N              default 3
  --max-steps N           stop after N steps
  --batch-size N          rows of a batch. Default 16
  --max-tokens N          tokens of a batch, instead of --batch-size
  --group-by-length       rows of about one length make a batch
  --learning-rate X       default 1e-4${forFull}
  --head-learning-rate X  the head's own. Default: --learning-rate
  --parameter-groups JSON what has a learning rate or weight decay of its own, such as
                          '[{"match": "layerNorm", "weightDecay": 0}]'
  --warmup-ratio X        share of the steps in which the learning rate climbs. Default 0
  --warmup-steps N        the same as a number of steps
  --weight-decay X        default 0
  --optim NAME            adamw, sgd, adafactor or lion. Default adamw
  --optim-args A=X,...    what sgd and adafactor can be told, such as momentum=0.9,nesterov=true
  --lr-scheduler NAME     how the learning rate goes on, by transformers' names, such as cosine. Default linear
  --lr-scheduler-args A=X,...  what the schedule can be told, such as numCycles=3
  --best METRIC           the result is the model of the best evaluation by METRIC: loss, accuracy, ...; of several
                          tasks together mean_loss, mean_accuracy, ... Default: the last, as with
                          --load-best-model-at-end false
  --early-stopping N      end after N evaluations in a row that are no better by METRIC, or by the loss
  --seed N                default 42. What starts at random goes by --name, too
  --save STRATEGY         checkpoints: no, epoch, steps or best. Default: every 500 steps and at the end, the
                          newest kept
  --tensorboard           write TensorBoard's event files, too
  --report-to LIST        which files about the run: jsonl, html, tensorboard with commas, all or none. Default
                          jsonl,html
  --logging-dir FOLDER    where they go. Default: that of --output
  --set NAME=VALUE        any other training argument, such as maxGradNorm=0.5; may be repeated. Each is an option under
                          its own name, too: --max-grad-norm 0.5, --num-train-epochs 3
${describeSettings}`
}

export const trainUsage = usageFor('; with --tune full 5e-5')

/** Training arguments and what a run does with its folder, of the commands that train adapters alone. */
export const sharedUsage = `  --model MODEL           folder or hub id of the base model, or an archive of torch.export (.pt2)
  --train FILE            rows to learn from
  --eval [NAME=]FILE      rows to measure on after each epoch; with NAME= it may be repeated
  --output FOLDER         where the result goes, with the run's events.jsonl and report.html; checkpoints lie in
                          FOLDER/checkpoints
  --head KIND, --labels A,B,...
                          of the head. Default: what the labels of the rows look like
  --format FORMAT         safetensors, bin or pt. Default safetensors
${usageFor('')}
  --overwrite             replace what an earlier run left in FOLDER, its checkpoints too
  --plan                  print what memory the training will take, and exit; nothing is trained or written
  --resume                go on from the newest checkpoint
  --resume-from FOLDER    go on from this checkpoint, such as FOLDER/checkpoints/checkpoint-8`
