import { Random } from '../data/random.js'
import type { TaskMode, TaskSampling } from './task-sampling.js'

export interface TaskSize {
  readonly rows: number
  /** What the task alone would have steps for in an epoch (from 0). */
  readonly steps: (epoch: number) => number
}

/** One step: how many of its own steps each task does in it. */
export interface Round {
  readonly counts: Uint32Array
  /** Where in its epoch it lies: round `index` of `count`. */
  readonly epoch: number
  readonly index: number
  readonly count: number
}

export interface TaskSamplerOptions {
  readonly sizes: readonly TaskSize[]
  readonly sampling: TaskSampling
  readonly mode: TaskMode
  readonly seed: number
}

/** The rounds follow from sizes and seed alone, so that a resumed run finds its place by counting. */
export class TaskSampler {
  constructor(private readonly options: TaskSamplerOptions) {}

  /** Without end, from the first epoch on. */
  *rounds(): Generator<Round, never, undefined> {
    for (let epoch = 0; ; epoch++) {
      const each = this.#epoch(epoch)
      for (const [index, counts] of each.entries()) yield { counts, epoch, index, count: each.length }
    }
  }

  /** Rounds in so many epochs, a last part of one rounded up. */
  roundsIn(epochs: number): number {
    const whole = Math.floor(epochs)
    let rounds = 0
    for (let epoch = 0; epoch < whole; epoch++) rounds += this.#epoch(epoch).length
    return epochs === whole ? rounds : rounds + Math.ceil((epochs - whole) * this.#epoch(whole).length)
  }

  #epoch(epoch: number): Uint32Array[] {
    const { sizes, sampling, mode, seed } = this.options
    const steps = sizes.map((size) => size.steps(epoch))
    const rounds = mode === 'fused' ? fusedRounds : alternateRounds
    return rounds(sampling, { steps, weights: weightsOf(sampling, sizes), random: Random.fromSeed(seed, epoch, 1) })
  }
}

interface Epoch {
  /** Of each task in this epoch. */
  readonly steps: readonly number[]
  readonly weights: readonly number[]
  readonly random: Random
}

function fusedRounds(sampling: TaskSampling, { steps, weights, random }: Epoch): Uint32Array[] {
  const longest = Math.max(...steps)
  switch (sampling) {
    case 'round_robin':
      return Array.from({ length: longest }, () => new Uint32Array(steps.length).fill(1))
    case 'sequential':
    case 'exhaustive':
      // Task t takes part wherever another of its batches is due.
      return Array.from({ length: longest }, (_, round) =>
        Uint32Array.from(
          steps,
          (own) => Math.floor(((round + 1) * own) / longest) - Math.floor((round * own) / longest)
        )
      )
    default: {
      const rounds = Math.ceil(sum(steps) / steps.length)
      return Array.from({ length: rounds }, () => {
        const counts = new Uint32Array(steps.length)
        for (let i = 0; i < steps.length; i++) add(counts, draw(weights, random))
        return counts
      })
    }
  }
}

function alternateRounds(sampling: TaskSampling, { steps, weights, random }: Epoch): Uint32Array[] {
  const only = (task: number) => add(new Uint32Array(steps.length), task)
  const inTurn = steps.flatMap((own, task) => new Array<number>(own).fill(task))
  switch (sampling) {
    case 'round_robin':
      return Array.from({ length: Math.max(...steps) * steps.length }, (_, round) => only(round % steps.length))
    case 'sequential':
      return inTurn.map(only)
    case 'exhaustive':
      return Array.from(random.shuffle(Uint32Array.from(inTurn)), only)
    default:
      return inTurn.map(() => only(draw(weights, random)))
  }
}

function weightsOf(sampling: TaskSampling, sizes: readonly TaskSize[]): number[] {
  const power = typeof sampling === 'object' ? 1 / sampling.temperature : sampling === 'sqrt' ? 0.5 : 1
  return sizes.map(({ rows }) => rows ** power)
}

function draw(weights: readonly number[], random: Random): number {
  let left = random.nextFloat() * sum(weights)
  const found = weights.findIndex((weight) => {
    left -= weight
    return left < 0
  })
  return found < 0 ? weights.length - 1 : found
}

function add(counts: Uint32Array, task: number): Uint32Array {
  counts[task] = (counts[task] ?? 0) + 1
  return counts
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
