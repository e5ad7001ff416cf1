import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { countParameters } from '../model/summary.js'
import { nativeCall } from '../native/errors.js'
import type { NativeMemoryUse, NativePassMemory, NativeTrainer } from '../native/trainer-types.js'
import type { ParameterInfo } from '../native/types.js'
import { headClassWeights, headsBy } from './class-weights.js'
import { countEvaluations } from './due.js'
import type { EncodedDataset } from './encoded.js'
import { encodingBytes } from './encoding-bytes.js'
import { evaluationOptions } from './evaluate.js'
import type { EvaluationSet } from './evaluation-sets.js'
import { openFrozenLayers } from './frozen-layers.js'
import { Samples } from './memory-samples.js'
import { nativeMember, nativeTrainer } from './native-trainer.js'
import type { ComputeMetrics } from './own-metrics.js'
import { StepPlan, stepBatches } from './plan.js'
import { type PlannedEvaluations, plannedEvaluations } from './planned-evaluations.js'
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
  /**
   * What a pass over the largest micro-batch and its way back take at once or, where that is more, a pass over the largest
   * batch of an evaluation; measured, not reckoned.
   */
  readonly activations: number
  /**
   * What the process took beside its tensors while they were measured: buffers of the mathematics library, code compiled for
   * each number of tokens, holes between tensors. Less where it was taken before, by another run; 0 but on Linux.
   */
  readonly overhead: number
  /** All of it. */
  readonly total: number
  /** What `activations` are of: the largest micro-batch of training, or the largest batch of an evaluation. */
  readonly largest: { readonly pass: 'training' | 'evaluation'; readonly rows: number; readonly tokens: number }
  /** On disk, where args.frozenLayerCache is on: the most that the run's rows can take there, two states a token. */
  readonly frozenLayerCache: number
}

export interface PlannedRun {
  readonly train: EncodedDataset
  /** Undefined: there is none. Asked for where the run evaluates. */
  readonly evaluation: (() => Promise<readonly EvaluationSet[]>) | undefined
  readonly computeMetrics: ComputeMetrics | undefined
  /** processBytes() before its rows were read. */
  readonly before: ProcessBytes | undefined
}

/*
 * Parameters, gradients and optimizer state are what they are. Activations depend on everything: the lowest adapter, for
 * nothing is kept below it; what trains, for a weight's gradient wants its input; dropout, which wants its masks; and how
 * rows are shared among threads, each of which has gradients of its own. A formula would be a second account of every
 * layer, true until one of them changes. Instead the largest micro-batch of the run goes through the network once, forward
 * and backward, while the core counts what its tensors take (nn/allocation_meter.h). So does the largest batch of its
 * evaluations, forward alone: it keeps nothing for a way back, and has often more rows. Nothing moves: gradients are zero
 * again afterwards, random numbers are drawn from the plan's own trainer, and its blocks go back to the system.
 *
 * A process takes more than its tensors (memory-samples.ts). So micro-batches of other sizes go through, too, and what the
 * process itself grew by is read. What JavaScript's garbage takes is counted for the run's steps, not for the plan's own
 * (process-bytes.ts).
 */

/** Of a run of AdapterTrainer. */
export async function planMemory(
  model: Model,
  args: ResolvedTrainingArguments,
  { train, evaluation, computeMetrics, before }: PlannedRun
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
  const weights = await headClassWeights(args, train)
  const native = await nativeTrainer(model, [nativeMember(model, args, plan)], args.seed, weights)
  const batches: StepInputs['batches'][number][] = []
  for (const rows of samples.of(model)) batches.push(await train.batch(Array.from(rows)))
  const { tokens = 0, batch = [] } = samples.largest ?? {}
  const allTokens = lengths.reduce((sum, length) => sum + length, 0)
  try {
    const { totalSteps: steps } = plan
    const encoding = encodingBytes(train, read)
    const how = { ...evaluationOptions(args, headsBy(args, train), weights), computeMetrics }
    const times = countEvaluations(args, plan)
    const sets = times > 0 && evaluation !== undefined ? await evaluation() : []
    const evaluations = await plannedEvaluations(
      model,
      sets.map(({ rows }) => ({ rows, how })),
      times
    )
    return await measured(model, args, native, {
      before,
      batches,
      rows: batch.length,
      tokens,
      steps,
      encoding,
      allTokens,
      evaluations
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
  readonly evaluations: PlannedEvaluations
}

export async function measured(
  model: Model,
  args: ResolvedTrainingArguments,
  native: NativeTrainer,
  { before, batches, rows, tokens, steps, encoding, allTokens, evaluations }: MeasuredBatches
): Promise<MemoryPlan> {
  const use = await measuredUse(model, args, native, { batches, evaluations })
  const { gradients, optimizer, activations, process, pass } = use
  const young = youngBytes()
  const all = model.namedParameters()
  const widthOf = ({ dtype }: ParameterInfo) => (dtype === 'bfloat16' ? 2 : Float32Array.BYTES_PER_ELEMENT)
  const bytesOf = (list: typeof all) => list.reduce((sum, one) => sum + countParameters([one]) * widthOf(one), 0)
  const total = bytesOf(all)
  const tensors = gradients + optimizer + activations
  const now = processBytes()
  const beside =
    before === undefined || now === undefined
      ? 0
      : Math.max(0, process - before.anonymous + now.code - before.code - tensors - (young - before.young)) +
        youngGrowth(
          before,
          steps * args.gradientAccumulationSteps + evaluations.batches,
          encoding + evaluations.encoding
        )
  const overhead = Math.round(beside)
  return {
    parameters: { total, trained: bytesOf(all.filter(({ trainable }) => trainable)) },
    ...{ gradients, optimizer, activations, overhead },
    total: total + tensors + overhead,
    largest: { pass, ...(pass === 'evaluation' ? evaluations.largest : { rows, tokens }) },
    frozenLayerCache: cacheBytes(model, args, allTokens + evaluations.allTokens)
  }
}

type MeasuredUse = NativeMemoryUse & { readonly pass: MemoryPlan['largest']['pass'] }

/** With a cache, also of passes that read what the first have kept, in a folder that is gone afterwards. */
async function measuredUse(
  model: Model,
  args: ResolvedTrainingArguments,
  native: NativeTrainer,
  { batches, evaluations: { groups } }: Pick<MeasuredBatches, 'batches' | 'evaluations'>
): Promise<MeasuredUse> {
  const pass = async (): Promise<MeasuredUse> => {
    const training = await nativeCall(() =>
      native.measure(
        batches.map(({ batch }) => batch),
        batches.map(({ pass }) => pass)
      )
    )
    if (groups.length === 0) return { ...training, pass: 'training' }
    return more(
      { ...training, pass: 'training' },
      {
        ...(await nativeCall(() => model.native.measureEach(groups))),
        pass: 'evaluation'
      }
    )
  }
  const { frozenLayerCache: cache } = args
  if (cache === false) return await pass()
  const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
  const close = openFrozenLayers(model, {
    ...args,
    frozenLayerCache: { ...(cache !== true && cache), folder }
  })
  try {
    return more(await pass(), await pass())
  } finally {
    close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The most that either took. */
function more(one: MeasuredUse, other: NativePassMemory & Pick<MeasuredUse, 'pass'>): MeasuredUse {
  const { activations, pass } = other.activations > one.activations ? other : one
  return { ...one, activations, pass, process: Math.max(one.process, other.process) }
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
  const of = {
    training: 'the largest micro-batch',
    evaluation: 'the largest batch of an evaluation, which takes more than training does'
  }
  const size = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`.padStart(14)
  return [
    ...lines.map(([name, bytes]) => `${name.padEnd(12)}${size(bytes)}`),
    '',
    `Trained: ${size(parameters.trained).trim()} of the parameters.`,
    `Activations were measured on ${of[largest.pass]}: ${largest.rows} rows, ${largest.tokens} tokens.`,
    ...(plan.frozenLayerCache > 0 ? [`On disk: up to ${size(plan.frozenLayerCache).trim()} of frozen layers.`] : [])
  ].join('\n')
}
