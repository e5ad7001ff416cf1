import * as check from '../config/check.js'
import { type Composition, formatComposition, fuseBlocks, fusionName } from '../config/composition.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { setupNames } from '../model/setup.js'
import { isAdapterParameter } from '../model/summary.js'
import { AdapterError } from '../native/errors.js'

/**
 * What was chosen to train must take part in the pass: otherwise a run ends well and has taught it nothing.
 * @param answering the heads that answer
 */
export function requireTakesPart(model: Model, answering: ReadonlyMap<string, unknown>): void {
  const { named, adapters, fusions, heads } = model.chosenToTrain
  if (named.length > 0 && adapters.length + fusions.length + heads.length === 0) throw deleted(named)
  const active = model.activeAdapters
  const runs = setupNames(active, model.known)
  for (const name of adapters) {
    if (!runs.includes(name)) throw notActive(name, active)
    if (!runsSomewhere(model, name)) throw skippedEverywhere(model, name)
  }
  const fused = fuseBlocks(active).map(fusionName)
  for (const name of fusions) if (!fused.includes(name)) throw notActive(name, active)
  for (const name of heads) if (!answering.has(name)) throw notAnswering(name, answering)
}

function deleted(names: readonly string[]): AdapterError {
  const what = `${check.quoted(names)} ${names.length === 1 ? 'was' : 'were'} chosen to train and deleted`
  return new AdapterError('ERR_INVALID_ARGUMENT', 'train', what, {
    hint: 'Call trainAdapter for another, or trainHead to train a head alone'
  })
}

function notAnswering(name: string, answering: ReadonlyMap<string, unknown>): AdapterError {
  return new AdapterError('ERR_INVALID_ARGUMENT', 'train', `'${name}' was chosen to train and is not the active head`, {
    expected: `activeHead '${name}'`,
    got: check.quoted(answering.keys()),
    hint: 'Call trainHead again, for the head that is to train'
  })
}

function notActive(name: string, active: Composition): AdapterError {
  return new AdapterError('ERR_INVALID_ARGUMENT', 'train', `'${name}' was chosen to train and is not active`, {
    expected: `a setup with '${name}'`,
    got: formatComposition(active),
    hint: 'Call trainAdapter again, or setActiveAdapters with a setup that holds it'
  })
}

function skippedEverywhere(model: Model, name: string): AdapterError {
  return new AdapterError('ERR_INVALID_ARGUMENT', 'train', `'${name}' runs in no layer`, {
    got: `skipLayers ${model.skippedLayers.join(', ')}`,
    hint: 'Call setActiveAdapters without skipLayers to train'
  })
}

/** Prompts and what else stands outside of the layers runs in any case. */
const outside = /\.prompt_tunings\.|\.invertible_adapters\.|^adapters\./

function runsSomewhere(model: Model, adapter: string): boolean {
  const skipped = new Set(model.skippedLayers)
  if (skipped.size === 0) return true
  const own = model.namedParameters().filter((parameter) => isAdapterParameter(parameter, adapter))
  return own.some(({ name }) => {
    const layer = /\.(?:layer|h)\.(\d+)\./.exec(name)?.[1]
    // What layers share, such as prefixes, runs where one of them does.
    return layer === undefined
      ? outside.test(name) || skipped.size < model.config.numHiddenLayers
      : !skipped.has(+layer)
  })
}

/** BatchSplit is for a fixed number of rows, which every batch of the run must have. `rows`: null where nobody knows. */
export function requireBatches(setup: Composition, args: ResolvedTrainingArguments, rows: number | null): void {
  if (setup === null || typeof setup === 'string') return
  if (setup.type !== 'BatchSplit') {
    for (const child of setup.children) requireBatches(child, args, rows)
    return
  }
  if (args.maxTokensPerBatch !== null) {
    const block = formatComposition(setup)
    throw check.valueError('maxTokensPerBatch', `${block} is for batches of a fixed number of rows`)
  }
  const wanted = setup.batchSizes.reduce((sum, size) => sum + size, 0)
  const size = args.perDeviceTrainBatchSize
  const whole = args.dataloaderDropLast || (rows !== null && rows % size === 0)
  if (size === wanted && whole) return
  const block = formatComposition(setup)
  throw check.valueError(
    size === wanted ? 'dataloaderDropLast' : 'perDeviceTrainBatchSize',
    size === wanted
      ? `${block} is for batches of ${wanted} rows, and the last of ${rows ?? 'a pass over the'} rows would be smaller; set it to true`
      : `${block} is for batches of ${wanted} rows, got ${size}`
  )
}
