import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { countParameters } from '../model/summary.js'
import { nativeCall } from '../native/errors.js'
import type { NativeMemoryUse, NativeTrainer } from '../native/trainer-types.js'
import type { ParameterInfo } from '../native/types.js'
import { headClassWeights } from './class-weights.js'
import type { EncodedDataset } from './encoded.js'
import { encodingBytes } from './encoding-bytes.js'
import { openFrozenLayers } from './frozen-layers.js'
import { nativeMember, nativeTrainer } from './native-trainer.js'
import { StepPlan, stepBatches } from './plan.js'
import { type ProcessBytes, processBytes, youngBytes, youngGrowth } from './process-bytes.js'
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
  /**
   * What the process took beside its tensors while they were measured: buffers of the mathematics library, code compiled for
   * each number of tokens, holes between tensors. Less where it was taken before, by another run; 0 but on Linux.
   */
  readonly overhead: number
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
 * A process takes more than its tensors: buffers of the mathematics library, code that oneDNN compiles for each number of
 * tokens, holes between small tensors in the C library's heap, blocks that are larger than what lies in them (nn/large_blocks.h).
 * That is some 10 MiB for the smallest model, and no formula has it either. So micro-batches of other sizes go through, too,
 * and what the process itself grew by is read. With 8 of them, rows of all lengths took up to 19 % more than was planned at
 * hidden 256; with 24, up to 2 %. A small model passes more of them: each takes some 40 KiB, and it is done soon. What JavaScript's garbage takes is counted for the run's steps, not for the plan's own
 * (process-bytes.ts).
 */
const [fewestSizes, mostSizes] = [24, 64]
/** Multiply-adds of the sizes beyond the fewest, forward: some seconds. What a size takes is much for a small model alone. */
const sizesWork = 5e10

/** The largest of a run's micro-batches, and some of other sizes. */
export class Samples<T> {
  largest: { readonly tokens: number; readonly batch: T } | undefined
  readonly #others = new Map<number, T>()

  add(tokens: number, batch: T): void {
    if (this.#others.size < mostSizes && !this.#others.has(tokens)) this.#others.set(tokens, batch)
    if (this.largest === undefined || tokens > this.largest.tokens) this.largest = { tokens, batch }
  }

  /** The largest comes last: it meets the holes that the others have left. */
  of({ config }: Model): T[] {
    const { largest } = this
    if (largest === undefined) return []
    const work = 12 * config.hiddenSize ** 2 * config.numHiddenLayers * largest.tokens
    const count = Math.max(fewestSizes, Math.floor(sizesWork / work))
    const others = [...this.#others].slice(0, count)
    return [...others.flatMap(([tokens, one]) => (tokens === largest.tokens ? [] : [one])), largest.batch]
  }
}

/**
 * Of a run of AdapterTrainer.
 * @param before processBytes() before its rows were read
 */
export async function planMemory(
  model: Model,
  args: ResolvedTrainingArguments,
  train: EncodedDataset,
  before: ProcessBytes | undefined
): Promise<MemoryPlan> {
  const sampler = await samplerFor(args, train)
  const plan = new StepPlan(args, sampler)
  const lengths = await rowLengths(train)
  const samples = new Samples<Uint32Array>()
  let [seen, read] = [0, 0]
  for (const step of stepBatches(sampler, plan, args.gradientAccumulationSteps, 0)) {
    for (const rows of step) {
      read += rows.length
      samples.add(
        rows.reduce((sum, row) => sum + (lengths[row] ?? 0), 0),
        rows.slice()
      )
    }
    if (++seen % 1024 === 0) await setImmediate()
  }
  const native = nativeTrainer(model, [nativeMember(model, args, plan)], args.seed, await headClassWeights(args, train))
  const batches: StepInputs['batches'][number][] = []
  for (const rows of samples.of(model)) batches.push(await train.batch(Array.from(rows)))
  const { tokens = 0, batch = [] } = samples.largest ?? {}
  const allTokens = lengths.reduce((sum, length) => sum + length, 0)
  try {
    const { totalSteps: steps } = plan
    const encoding = encodingBytes(train, read)
    return await measured(model, args, native, {
      before,
      batches,
      rows: batch.length,
      tokens,
      steps,
      encoding,
      allTokens
    })
  } finally {
    native.dispose()
  }
}

export interface MeasuredBatches {
  /** processBytes() before anything of the run was made, its rows among it. */
  readonly before: ProcessBytes | undefined
  readonly batches: StepInputs['batches']
  /** Of the largest. */
  readonly rows: number
  readonly tokens: number
  /** Of the run, of each that trains; how much garbage JavaScript makes. */
  readonly steps: number
  /** What JavaScript takes while the run's rows are made into numbers. */
  readonly encoding: number
  /** Of the whole dataset. */
  readonly allTokens: number
}

export async function measured(
  model: Model,
  args: ResolvedTrainingArguments,
  native: NativeTrainer,
  { before, batches, rows, tokens, steps, encoding, allTokens }: MeasuredBatches
): Promise<MemoryPlan> {
  const { gradients, optimizer, activations, process } = await measuredUse(model, args, native, batches)
  const young = youngBytes()
  const all = model.namedParameters()
  const widthOf = ({ dtype }: ParameterInfo) => (dtype === 'bfloat16' ? 2 : Float32Array.BYTES_PER_ELEMENT)
  const bytesOf = (list: typeof all) => list.reduce((sum, one) => sum + countParameters([one]) * widthOf(one), 0)
  const total = bytesOf(all)
  const tensors = gradients + optimizer + activations
  const now = processBytes()
  const overhead =
    before === undefined || now === undefined
      ? 0
      : Math.max(0, process - before.anonymous + now.code - before.code - tensors - (young - before.young)) +
        youngGrowth(before, steps * args.gradientAccumulationSteps, encoding)
  return {
    parameters: { total, trained: bytesOf(all.filter(({ trainable }) => trainable)) },
    ...{ gradients, optimizer, activations, overhead },
    total: total + tensors + overhead,
    largest: { rows, tokens },
    frozenLayerCache: cacheBytes(model, args, allTokens)
  }
}

/** With a cache, also of a pass that reads what the first has kept, in a folder that is gone afterwards. */
async function measuredUse(
  model: Model,
  args: ResolvedTrainingArguments,
  native: NativeTrainer,
  batches: StepInputs['batches']
): Promise<NativeMemoryUse> {
  const pass = () =>
    nativeCall(() =>
      native.measure(
        batches.map(({ batch }) => batch),
        batches.map(({ pass }) => pass)
      )
    )
  const { frozenLayerCache: cache } = args
  if (cache === false) return await pass()
  const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
  const close = openFrozenLayers(model, {
    ...args,
    frozenLayerCache: { ...(cache !== true && cache), folder }
  })
  try {
    const [first, second] = [await pass(), await pass()]
    return {
      ...first,
      activations: Math.max(first.activations, second.activations),
      process: Math.max(first.process, second.process)
    }
  } finally {
    close()
    rmSync(folder, { recursive: true, force: true })
  }
}

function cacheBytes({ config }: Model, { frozenLayerCache }: ResolvedTrainingArguments, tokens: number): number {
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
    ['overhead', plan.overhead],
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
