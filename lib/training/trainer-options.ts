import * as check from '../config/check.js'
import { plain } from '../config/nearest.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { Model } from '../model/model.js'

/** What Hugging Face's Trainer is given and these trainers are not, and what to do instead. */
const elsewhere = new Map(
  Object.entries({
    ...{ tokenizer: tokenized('tokenizer'), processingClass: tokenized('processingClass') },
    dataCollator: 'is not needed: batches have no padding, and texts without labels are masked for a masked_lm head',
    ...{ datasets: "is called 'trainDataset' here", dataset: "is called 'trainDataset' here" },
    trainRows: "is called 'trainDataset' here",
    optimizers: 'is not taken: args.optim, args.optimArgs and args.lrSchedulerType choose them',
    preprocessLogitsForMetrics: 'is not needed: computeMetrics gets the logits and gives what it likes',
    ...{ modelInit: 'is not taken: give the model, and trainSweep many settings', peftConfig: adapterOf('peftConfig') },
    ...{ adapterNames: adapterOf('adapterNames'), computeLossFunc: 'is not taken: the head has its loss' },
    ...{ signal: runOption('signal'), saveOnAbort: runOption('saveOnAbort') }
  }).map(([name, text]) => [plain(name), text])
)

function tokenized(_name: string): string {
  return 'is not taken: the model has its own, model.tokenizer, and texts go through it'
}

function adapterOf(_name: string): string {
  return 'is not taken: the model knows what trains: addAdapter, then trainAdapter'
}

function runOption(name: string): string {
  return `is for a run: trainer.train({ ${name} }) or trainer.run({ ${name} })`
}

/** The one object that a trainer is made of. */
export function checkTrainerOptions(trainer: string, options: unknown, keys: readonly string[]): void {
  if (options instanceof Model) {
    const [, rows] = keys
    throw check.typeError(trainer, `one object: new ${trainer}({ model, ${rows}, args })`, options)
  }
  const given = check.checkObject('options', options)
  check.checkKeys('options', given, keys, explainOption)
}

/** Of an option that no trainer is made of, what to do instead. */
export const explainOption = (key: string): string | undefined => elsewhere.get(plain(key))

/** What evaluates needs rows to do it on. */
export function requireEvaluationRows(args: ResolvedTrainingArguments, has: boolean, what: string): void {
  if (has) return
  if (args.evalStrategy !== 'no') throw check.valueError('args.evalStrategy', `'${args.evalStrategy}' needs ${what}`)
  if (args.evalOnStart) throw check.valueError('args.evalOnStart', `it needs ${what}`)
}

/** What is for streams alone is refused where all rows are at hand. */
export function checkDatasetArguments({ shuffleBufferSize }: ResolvedTrainingArguments): void {
  if (shuffleBufferSize === null) return
  const why = 'it is for a stream, trainDataset: () => rows; rows of a dataset are all shuffled: leave it out'
  throw check.valueError('args.shuffleBufferSize', why)
}

export const runKeys = ['signal', 'saveOnAbort']

/** What run() and train() are told, where Hugging Face's train() is told more. */
export function checkRunOptions(options: unknown): void {
  const given = check.checkObject('options', options)
  check.checkKeys('options', given, runKeys, (key) => {
    const isResume = plain(key) === plain('resumeFromCheckpoint')
    return isResume ? `is a training argument: args: { resumeFromCheckpoint: true }` : undefined
  })
  check.checkCommonOptions(given)
}
