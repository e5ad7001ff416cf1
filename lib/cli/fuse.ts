import { resolve } from 'node:path'
import { Fuse } from '../config/composition.js'
import type { FusionConfigSource } from '../config/fusion-config.js'
import { isOwnHead } from '../config/own-head.js'
import type { TrainingEvent } from '../training/events.js'
import { findAdapters, refuseLoaded } from './adapters.js'
import { exitStatus, fromOptions, usageError } from './arguments.js'
import { findBelow } from './below.js'
import { eachEvalRows } from './eval-sets.js'
import { modelUsage } from './model-options.js'
import { jsonLine } from './output.js'
import { rowsUsage } from './rows.js'
import { runTraining, type Trained } from './train.js'
import { sharedUsage } from './train-options.js'
import { printPlan } from './train-plan.js'
import { parseTraining, readTraining } from './train-setup.js'
import { describeHead, refuseKnown } from './train-what.js'
import { TrainingModel } from './training-model.js'
import { runTrainingIn } from './training-run.js'

export const summary = 'train a fusion over adapters that have learned before, with a head (AdapterFusion)'

const usage = `Usage: torch-adapters fuse [CONFIG] --model MODEL --adapter A --adapter B ... --train FILE --output FOLDER [OPTIONS]

The second of AdapterFusion's two stages (Pfeiffer et al. 2021): the adapters stand still, and a fusion learns for each
token how much each of them counts. train and train --tasks are the first. FOLDER then holds the adapters, the fusion
with the head in FOLDER/NAME, and adapter_setup.json, as Python's save_adapter_setup writes them; evaluate takes it as
--setup.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted: what was done is saved, and resume goes on.

  --adapter [NAME=]ADAPTER
                          folder or hub id of an adapter, at least two; with NAME= it gets that name here. In CONFIG a
                          list: adapters
  --below [NAME=]ADAPTER  an adapter that lies, as it is, below all of them, such as MAD-X's language adapter. May be
                          repeated, the lowest first; in CONFIG a list. FOLDER then holds it, too
  --fusion KIND           static or dynamic, as AdapterHub names them, also with fields of AdapterFusionConfig:
                          'dynamic[temperature=True, dropout_prob=0.1]'. Default dynamic
  --name NAME             the fusion's and the head's name. Default: FOLDER's

Everything else is as with train:
${sharedUsage}
${modelUsage}
  --json                  one JSON object a line: every event but single steps, and last the result
  --help                  this text
${rowsUsage}
`

export async function run(argv: string[]): Promise<number> {
  const parsed = await parseTraining(argv, usage, {
    adapter: { type: 'string', short: 'a', multiple: true },
    fusion: { type: 'string' }
  } as const)
  if (parsed === undefined) return exitStatus.done
  const { adapter: given = [], below: givenBelow = [], fusion, json, offline } = parsed.values
  for (const option of ['config', 'report'] as const) {
    if (parsed.values[option] !== undefined) throw usageError(`--${option}: a fusion has none; leave it out`)
  }
  if (given.length < 2) throw usageError(`--adapter: expected at least two adapters to fuse, got ${given.length}`)
  using model = new TrainingModel(parsed.values)
  const { values, plan, folder, args, train, evaluation, head } = await readTraining(parsed, model)
  const { name, format } = plan
  if (plan.tuning !== 'adapter') throw usageError(`--tune: a fusion stands over adapters, got '${plan.tuning}'`)
  const sources = await findAdapters(given, offline || undefined)
  const names = sources.map((source) => source.name)
  if (names.includes(name))
    throw usageError(`--name: an adapter is called '${name}', too; give the fusion another name`)
  const below = await findBelow('--below', givenBelow, [...names, name], offline || undefined)
  const setup = below.under(Fuse(...names, { name }))
  const adapters = sources.map((one) => `${one.name}=${resolve(one.folder)}`)
  return await runTrainingIn<TrainingEvent, Trained>({
    ...{ values, model, folder, args, rows: [train, ...eachEvalRows(evaluation)], heads: describeHead(head) },
    record: { ...values, name, adapters, below: values.below && below.record },
    prepare: async (model) => {
      refuseKnown(model, name)
      await below.load(model)
      for (const source of sources) {
        refuseLoaded(model, source)
        await model.loadAdapter(source.folder, { as: source.name, withHead: false })
      }
      model.addHead(name, head)
      fromOptions(() => model.addAdapterFusion(names, fusion as FusionConfigSource | undefined, { name }))
      model.trainAdapterFusion(setup)
      model.activeHead = name
    },
    plan: values.plan
      ? async (model) => {
          const { AdapterTrainer } = await import('../training/trainer.js')
          await printPlan(new AdapterTrainer({ model, trainDataset: train, evalDataset: evaluation, args }), json)
        }
      : undefined,
    train: async (model, following) => {
      return await runTraining({ model, name, train, evaluation, args, json }, following)
    },
    finish: async (model, { events }) => {
      await model.saveAdapterSetup(folder, setup, { format, withHead: false, head: isOwnHead(head) ? null : name })
      if (json) process.stdout.write(jsonLine({ type: 'result', folder, name, adapters: names, events }))
      else {
        const beside = isOwnHead(head) ? '' : ' with its head'
        process.stdout.write(`fusion '${name}' over ${names.join(', ')}${beside} is in ${folder}\n`)
      }
    }
  })
}
