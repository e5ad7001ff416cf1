import * as check from '../config/check.js'
import { formatComposition, lastAdapter, parseComposition } from '../config/composition.js'
import { plain } from '../config/nearest.js'
import { taskArguments } from '../config/task-arguments.js'
import type { ResolvedTrainingArguments, TrainingArguments } from '../config/training-arguments.js'
import type { Dataset } from '../data/dataset.js'
import type { Model } from '../model/model.js'
import { type AdapterSetup, checkKnown, isUniform, setupNames } from '../model/setup.js'
import { checkComputeMetrics } from '../training/evaluate.js'
import { checkEvalDataset, type EvalDataset } from '../training/evaluation-sets.js'
import type { ComputeMetrics } from '../training/own-metrics.js'
import { argumentsOfEach, followsMean } from './common-best.js'
import type { LearnerOptions } from './learner.js'
import type { TaskOptions } from './multi-task-trainer.js'
import { partsOfSetup } from './owners.js'

/** A task with everything filled in. */
export interface CheckedTask extends LearnerOptions {
  readonly dataset: Dataset
  readonly evalDataset: EvalDataset | undefined
  readonly args: ResolvedTrainingArguments
  /** As given for it alone: its arguments and its weight. */
  readonly own: Readonly<Record<string, unknown>>
  readonly computeMetrics: ComputeMetrics | undefined
}

const keys = ['dataset', 'evalDataset', 'adapter', 'train', 'head', 'weight', 'args', 'computeMetrics']

/** What AdapterTrainer calls its rows. */
const otherNames = ['traindataset', 'trainrows', 'rows']

const explain = (key: string) => (otherNames.includes(plain(key)) ? "is called 'dataset' here" : undefined)

export function checkTask(model: Model, name: string, given: unknown, all: TrainingArguments): CheckedTask {
  const place = `tasks.${name}`
  if (Array.isArray(given)) throw check.typeError(place, 'an object with rows in it: { dataset: rows }', given)
  check.checkKeys(place, check.checkObject(place, given), keys, explain)
  const task = given as TaskOptions
  if (task.dataset === undefined) throw check.typeError(`${place}.dataset`, 'rows', undefined)
  checkEvalDataset(`${place}.evalDataset`, task.evalDataset)
  checkComputeMetrics(task.computeMetrics)
  const setup = checkSetup(model, place, task.adapter === undefined ? name : task.adapter)
  const head = headOf(model, name, setup, task.head)
  const parts = partsOfSetup(model, setup)
  const adapters = task.train === undefined ? parts.adapters : trained(model, place, setup, task.train)
  return {
    ...{ name, setup, head, dataset: task.dataset, evalDataset: task.evalDataset, computeMetrics: task.computeMetrics },
    args: taskArguments(`${place}.args`, argumentsOfEach(all), task.args),
    own: { ...task.args, ...(task.weight !== undefined && { weight: task.weight }) },
    followsMean: followsMean(all, task.args),
    parts: { ...parts, adapters, heads: [head] },
    weight: check.checkNumber(`${place}.weight`, task.weight ?? 1, { from: 0 })
  }
}

function checkSetup(model: Model, place: string, setup: AdapterSetup): AdapterSetup {
  const parsed = typeof setup === 'string' || setup === null ? setup : parseComposition(setup)
  setupNames(parsed, model.known, `${place}.adapter`)
  if (isUniform(parsed)) return parsed
  const message = `${formatComposition(parsed)} sends rows different ways; all rows of a task go the same`
  throw check.valueError(`${place}.adapter`, message)
}

function trained(model: Model, place: string, setup: AdapterSetup, given: readonly string[]): readonly string[] {
  const there = setupNames(setup, model.known)
  return check
    .checkArray(`${place}.train`, given)
    .map((name, i) => check.checkOneOf(`${place}.train[${i}]`, name, there))
}

function headOf(model: Model, name: string, setup: AdapterSetup, given: string | undefined): string {
  if (given !== undefined) return checkKnown(`tasks.${name}.head`, given, model.heads)
  const last = lastAdapter(setup)
  const found = [name, last].find((one) => one !== null && model.heads.has(one))
  if (found != null) return found
  const names = [...new Set([name, last])].filter((one) => one !== null)
  throw check.valueError(
    `tasks.${name}`,
    `no head is called ${names.map((one) => `'${one}'`).join(' or ')}; add one, or name one with head`
  )
}
