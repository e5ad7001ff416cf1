import {
  type ResolvedTrainingArguments,
  type TrainingArguments,
  trainingArguments
} from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import type { TrainingEvent } from '../training/events.js'
import { startOf } from '../training/record/own-files.js'
import type { RunCurves } from '../training/report.js'
import { exitStatus, usageError } from './arguments.js'
import { findBelow } from './below.js'
import { type EvalRows, eachEvalRows, evalFiles, evalNames } from './eval-sets.js'
import { modelUsage } from './model-options.js'
import { checkOutputFile, FileOutput, jsonLine } from './output.js'
import { rowsUsage, type TrainingRows } from './rows.js'
import { tasksOptions, trainUsage } from './train-options.js'
import { printPlan } from './train-plan.js'
import { parseTraining, readTraining } from './train-setup.js'
import { describeHead, describeTuned, prepareTuning, saveTuned, type TuningPlan } from './train-what.js'
import { TrainingModel } from './training-model.js'
import { type Following, runTrainingIn } from './training-run.js'
import { withProgress } from './with-progress.js'

export const summary = 'train an adapter with its head, a head alone or a whole model on labelled rows'

const usage = `Usage: torch-adapters train [CONFIG] --model MODEL --train FILE --output FOLDER [OPTIONS]

Trains a head for the labels that the rows have, and with it an adapter, nothing else, or the whole model. FOLDER then
holds what was trained: an adapter or a head as AdapterHub folders do, which Python's adapters loads, or a model.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted: what was done is saved, and resume goes on.

  CONFIG                  these options in a file, JSON or YAML: model, tokenizer, placement, train, eval, output, tune,
                          name, config, head, labels, format, report, device, trunk, threads, offline, tensorboard,
                          tasks, mode, sampler, onNotFinite, below, and training arguments by their own names; options
                          go before. Editors know it by
                          schema/train.schema.json
  --model MODEL           folder or hub id of the base model, or an archive of torch.export (.pt2)
  --train FILE            rows as JSONL, CSV, TSV or Parquet: text, text_pair, words or input_ids, and label; for
                          questions question, context and answers; for choices text, choices and label; to parse words,
                          heads (0: the root) and relations. A file of more than 64 MiB stays on disk
  --eval [NAME=]FILE      rows to measure on after each epoch. With NAME= it may be repeated: each set's measures are
                          then NAME_loss, NAME_accuracy, ..., the loss their mean; in CONFIG { NAME: FILE }
  --output FOLDER         where the result goes, with the run's events.jsonl and report.html; checkpoints lie in
                          FOLDER/checkpoints
  --tasks FILE            instead of --train and --eval: several tasks side by side in one pass through the frozen
                          model, each with an adapter and a head of its own, which FOLDER/TASK then holds. FILE is JSON
                          or YAML, or tasks in CONFIG: { TASK: { train, eval, config, head, labels, weight, and
                          training arguments that a task may have for itself, such as learningRate; adapter: the name
                          of one that tasks share } }
  --mode MODE             of several tasks: fused, rows of several in each step, or alternate, a batch of one. Default
                          fused
  --sampler NAME          of several tasks, whose batches come when: exhaustive, round_robin, sequential (with
                          alternate), proportional, sqrt or temperature=T. Default exhaustive
  --on-not-finite WHAT    of several tasks, what a loss that is not finite, or a task without rows, ends: throw, the
                          run, or stopTask, that task. Default throw
  --below [NAME=]ADAPTER  an adapter that has learned before and lies, as it is, below the one that trains: MAD-X's
                          language adapter below the task's. May be repeated, the lowest first; in CONFIG, or in one of
                          its tasks, a list
  --tune WHAT             what trains. Default adapter
                            adapter  an adapter and its head, the base model frozen
                            head     the head alone, the base model frozen; for --head of evaluate and predict
                            full     the base model and the head; FOLDER is then a --model that has its head with it
  --name NAME             the adapter's and the head's name. Default: FOLDER's
  --config CONFIG         the adapter's preset or shorthand, such as 'seq_bn[reduction_factor=8]', or JSON.
                          Default seq_bn
  --head KIND             classification, regression, multilabel, tagging, question-answering, multiple-choice,
                          dependency-parsing or, for rows without labels, masked-lm and, with GPT-2, causal-lm; or
                          default, that of MODEL itself, an archive of a class with a head (AutoModelForCausalLM), which
                          stays as it is. Default: what the labels look like; without labels such an archive's own
  --labels A,B,...        label names in the order of their ids, or a JSON list where a name holds a comma. Default:
                          those of the rows, sorted, or those that a Parquet file has from Hugging Face's datasets
  --format FORMAT         safetensors, bin or pt. Default safetensors; a model is always safetensors
  --report FILE           write the curves of loss and metric alone as a page of HTML, to another place

${trainUsage}
  --overwrite             replace what an earlier run with the same --tune left in FOLDER, its checkpoints too
  --plan                  print what memory the training will take, and exit; nothing is trained or written
  --resume                go on from the newest checkpoint
  --resume-from FOLDER    go on from this checkpoint, such as FOLDER/checkpoints/checkpoint-8

${modelUsage}
  --json                  one JSON object a line: every event but single steps, and last the result
  --help                  this text
${rowsUsage}
`

interface Job {
  readonly model: Model
  /** Of the curves. */
  readonly name: string
  readonly train: TrainingRows
  readonly evaluation: EvalRows | undefined
  readonly args: TrainingArguments
  readonly json: boolean
}

export interface Trained {
  /** The last evaluation and the end. */
  readonly events: readonly TrainingEvent[]
  readonly curves: RunCurves
}

/** Runs the training and shows it. */
export async function runTraining(
  { model, name, train, evaluation, args, json }: Job,
  { signal, onEvent }: Following<TrainingEvent>
): Promise<Trained> {
  const { AdapterTrainer } = await import('../training/trainer.js')
  const { CurveRecorder } = await import('../training/report.js')
  const trainer = new AdapterTrainer({ model, trainDataset: train, evalDataset: evaluation, args })
  const recorder = new CurveRecorder(name)
  const last = new Map<TrainingEvent['type'], TrainingEvent>()
  await withProgress(json, async (show) => {
    for await (const event of trainer.run({ signal, saveOnAbort: true })) {
      onEvent(event)
      recorder.record(event)
      show(event)
      last.set(event.type, event)
    }
  })
  const events = [...last.values()].filter(({ type }) => type === 'evaluate' || type === 'end')
  return { events, curves: recorder.curves }
}

/** The first that the head's evaluations have is drawn, where --best names none. */
const curveMetrics = ['pearson', 'entityF1', 'las', 'accuracy', 'f1'] as const

/** An earlier report is replaced; rows, or whatever else is no page, are not. */
function checkReport(file: string, files: Parameters<typeof checkOutputFile>[2]): void {
  checkOutputFile('report', file, files)
  const start = startOf(file, '<!doctype html'.length)
  if (start && start.toLowerCase() !== '<!doctype html')
    throw usageError(`--report: ${file} is there and is no page of HTML; give another place`)
}

async function writeReport(
  file: string,
  curves: RunCurves,
  { metricForBestModel: best }: ResolvedTrainingArguments,
  sets: readonly string[]
): Promise<void> {
  const { reportHtml } = await import('../training/report.js')
  const ofSets = sets.flatMap((set) => curveMetrics.map((metric) => `${set}_${metric}`))
  const metric =
    [...(best === null || best === 'loss' ? [] : [best]), ...curveMetrics, ...ofSets].find((name) =>
      curves.evaluations.some((values) => values[name] !== undefined)
    ) ?? 'accuracy'
  const output = new FileOutput(file)
  output.write(reportHtml({ title: `Training of '${curves.name}'`, runs: [curves], metric }))
  output.finish()
}

function result(model: Model, { tuning, name, folder }: TuningPlan, events: readonly TrainingEvent[]): object {
  const { adapters, trainableParameters } = model.adapterSummary()
  const adapter = adapters.find((entry) => entry.name === name) ?? null
  return { type: 'result', tune: tuning, folder, name, adapter, trainableParameters, events }
}

export async function run(argv: string[]): Promise<number> {
  const parsed = await parseTraining(argv, usage, tasksOptions)
  if (parsed === undefined) return exitStatus.done
  if (parsed.values.tasks !== undefined) {
    const { trainTasks } = await import('./train-tasks.js')
    return await trainTasks(parsed)
  }
  for (const option of ['mode', 'sampler', 'on-not-finite'] as const) {
    if (parsed.values[option] !== undefined)
      throw usageError(`--${option}: expected several tasks, --tasks FILE, got none`)
  }
  using model = new TrainingModel(parsed.values)
  const { values, plan, folder, args, train, evaluation, head, files } = await readTraining(parsed, model)
  const { report, json } = values
  if (values.below !== undefined && plan.tuning !== 'adapter')
    throw usageError(`--below: what trains above it is an adapter, got --tune ${plan.tuning}`)
  const below = await findBelow('--below', values.below ?? [], [plan.name], values.offline || undefined)
  return await runTrainingIn<TrainingEvent, Trained>({
    ...{ values, model, folder, args, rows: [train, ...eachEvalRows(evaluation)], heads: describeHead(head) },
    record: { ...values, name: plan.name, below: values.below && below.record },
    prepare: async (model) => {
      await below.load(model)
      prepareTuning(model, plan, head)
      if (values.below !== undefined) model.setActiveAdapters(below.under(plan.name))
      if (report !== undefined && !values.plan) checkReport(report, files)
    },
    plan: values.plan
      ? async (model) => {
          const { AdapterTrainer } = await import('../training/trainer.js')
          await printPlan(new AdapterTrainer({ model, trainDataset: train, evalDataset: evaluation, args }), json)
        }
      : undefined,
    train: async (model, following) => {
      return await runTraining({ model, name: plan.name, train, evaluation, args, json }, following)
    },
    finish: async (model, { events, curves }) => {
      await saveTuned(model, plan)
      if (json) process.stdout.write(jsonLine(result(model, plan, events)))
      else process.stdout.write(describeTuned(model, plan) + below.describe(plan.name, folder))
      // Last: what was trained is safe and named, whatever becomes of the report.
      if (report !== undefined)
        await writeReport(report, curves, trainingArguments(args), evalNames(evalFiles(values.eval)))
    }
  })
}
