import { setImmediate } from 'node:timers/promises'
import type { TrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { countParameters } from '../model/summary.js'
import { nativeCall } from '../native/errors.js'
import type { NativeTrainer } from '../native/trainer-types.js'
import type { ParameterInfo } from '../native/types.js'
import { headClassWeights } from './class-weights.js'
import type { EncodedDataset } from './encoded.js'
import { nativeMember, nativeTrainer } from './native-trainer.js'
import { StepPlan, stepBatches } from './plan.js'
import { rowLengths } from './row-lengths.js'
import { samplerFor } from './run.js'
import type { StepInputs } from './stoppable-step.js'

/** What a run takes of memory, in bytes. */
export interface MemoryPlan {
  /** Of the model; weights that are mapped from a file count like others. */
  readonly parameters: { readonly total: number; readonly trained: number }
  readonly gradients: number
  /** State of the optimizer, of all members where several train. */
  readonly optimizer: number
  /** What a pass over the largest micro-batch and its way back take at once; measured, not reckoned. */
  readonly activations: number
  /** All of it. */
  readonly total: number
  /** The micro-batch that was measured. */
  readonly largest: { readonly rows: number; readonly tokens: number }
  /** On disk, where args.frozenLayerCache is on: the most that the run's rows can take there, two states a token. */
  readonly frozenLayerCache: number
}

/*
 * Parameters, gradients and optimizer state are what they are. Activations depend on everything: the lowest adapter, for
 * nothing is kept below it; what trains, for a weight's gradient wants its input; dropout, which wants its masks; and how
 * rows are shared among threads, each of which has gradients of its own. A formula would be a second account of every
 * layer, true until one of them changes. Instead the largest micro-batch of the run goes through the network once, forward
 * and backward, while the core counts what its tensors take (nn/allocation_meter.h). Nothing moves: gradients are zero
 * again afterwards, random numbers are drawn from the plan's own trainer, and its blocks go back to the system.
 *
 * A process grows by that, within 15 %, where a pass's tensors are of 256 KiB and more, which lie in blocks of our own
 * (nn/large_blocks.h), and by some 10 MiB of which no plan can know: code, threads and JavaScript's heap of a first training.
 * Smaller ones lie in the C library's heap: those that are freed leave holes there that no other fits. With 4 layers and
 * 1,024 tokens a batch, hidden 64, 128 and 256, 8, 16 and 33 MiB were planned and the process grew by 18, 22 and 40. Rows of
 * all lengths: hidden 384 grew by 126 MiB where 113 were planned, hidden 768 by 145 where 131 were, hidden 256 with its small
 * batches by 43 where 24 were. Blocks from 1 MiB on took a third more memory there, and a twentieth less time.
 */

/** Of a run of AdapterTrainer. */
export async function planMemory(model: Model, args: TrainingArguments, train: EncodedDataset): Promise<MemoryPlan> {
  const sampler = await samplerFor(args, train)
  const plan = new StepPlan(args, sampler)
  const lengths = await rowLengths(train)
  let rows = new Uint32Array()
  let tokens = 0
  let seen = 0
  for (const step of stepBatches(sampler, plan, args.gradientAccumulationSteps, 0)) {
    for (const batch of step) {
      const own = batch.reduce((sum, row) => sum + (lengths[row] ?? 0), 0)
      if (own > tokens) [rows, tokens] = [Uint32Array.from(batch), own]
    }
    if (++seen % 1024 === 0) await setImmediate()
  }
  const native = nativeTrainer(model, [nativeMember(model, args, plan)], args.seed, await headClassWeights(args, train))
  const batches = [train.batch(Array.from(rows))]
  const all = lengths.reduce((sum, length) => sum + length, 0)
  try {
    return await measured(model, args, native, { batches, rows: rows.length, tokens, allTokens: all })
  } finally {
    native.dispose()
  }
}

export interface LargestStep {
  readonly batches: StepInputs['batches']
  readonly rows: number
  readonly tokens: number
  /** Of the whole dataset. */
  readonly allTokens: number
}

export async function measured(
  model: Model,
  args: TrainingArguments,
  native: NativeTrainer,
  { batches, rows, tokens, allTokens }: LargestStep
): Promise<MemoryPlan> {
  const use = await nativeCall(() =>
    native.measure(
      batches.map(({ batch }) => batch),
      batches.map(({ pass }) => pass)
    )
  )
  const all = model.namedParameters()
  const widthOf = ({ dtype }: ParameterInfo) => (dtype === 'bfloat16' ? 2 : Float32Array.BYTES_PER_ELEMENT)
  const bytesOf = (list: typeof all) => list.reduce((sum, one) => sum + countParameters([one]) * widthOf(one), 0)
  const total = bytesOf(all)
  return {
    parameters: { total, trained: bytesOf(all.filter(({ trainable }) => trainable)) },
    ...use,
    total: total + use.gradients + use.optimizer + use.activations,
    largest: { rows, tokens },
    frozenLayerCache: cacheBytes(model, args, allTokens)
  }
}

function cacheBytes({ config }: Model, { frozenLayerCache }: TrainingArguments, tokens: number): number {
  if (frozenLayerCache === false) return 0
  const { maxBytes = 4 * 2 ** 30, dtype = 'float32' } = frozenLayerCache === true ? {} : frozenLayerCache
  // What a layer's last site reads is a sub-layer's output and its residual.
  return Math.min(maxBytes, 2 * tokens * config.hiddenSize * (dtype === 'bfloat16' ? 2 : 4))
}

/** As a table of words and numbers, for people. */
export function describePlan(plan: MemoryPlan): string {
  const { parameters, largest } = plan
  const lines: (readonly [string, number])[] = [
    ['parameters', parameters.total],
    ['gradients', plan.gradients],
    ['optimizer', plan.optimizer],
    ['activations', plan.activations],
    ['total', plan.total]
  ]
  const size = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`.padStart(14)
  return [
    ...lines.map(([name, bytes]) => `${name.padEnd(12)}${size(bytes)}`),
    '',
    `Trained: ${size(parameters.trained).trim()} of the parameters.`,
    `Activations were measured on the largest micro-batch: ${largest.rows} rows, ${largest.tokens} tokens.`,
    ...(plan.frozenLayerCache > 0 ? [`On disk: up to ${size(plan.frozenLayerCache).trim()} of frozen layers.`] : [])
  ].join('\n')
}
