import { share } from './counts.js'

/** Answers beside the values they should have had. Ranks need all of them: they are kept. */
export class RegressionCounter {
  readonly #answers: number[] = []
  readonly #labels: number[] = []

  add(logits: Float32Array, labels: Int32Array | Float32Array): void {
    if (logits.length !== labels.length) {
      throw new RangeError(`metrics: ${labels.length} labels need ${labels.length} outputs, got ${logits.length}`)
    }
    for (const value of logits) this.#answers.push(value)
    for (const value of labels) this.#labels.push(value)
  }

  /** The correlations are 0 where all labels or all answers are the same. */
  result(): { mse: number; pearson: number; spearman: number } {
    const squares = this.#answers.reduce((sum, answer, i) => sum + (answer - (this.#labels[i] ?? 0)) ** 2, 0)
    return {
      mse: share(squares, this.#answers.length),
      pearson: correlation(this.#answers, this.#labels),
      spearman: correlation(ranks(this.#answers), ranks(this.#labels))
    }
  }
}

function correlation(a: readonly number[], b: readonly number[]): number {
  const [meanA, meanB] = [mean(a), mean(b)]
  let [aa, bb, ab] = [0, 0, 0]
  for (const [i, value] of a.entries()) {
    const [x, y] = [value - meanA, (b[i] ?? 0) - meanB]
    aa += x * x
    bb += y * y
    ab += x * y
  }
  const spread = Math.sqrt(aa * bb)
  return spread === 0 ? 0 : ab / spread
}

const mean = (values: readonly number[]): number =>
  share(
    values.reduce((sum, value) => sum + value, 0),
    values.length
  )

/** From 1; equal values share the mean of their ranks, as scipy.stats.spearmanr has it. */
function ranks(values: readonly number[]): number[] {
  const order = Array.from(values.keys()).sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0))
  const result = new Array<number>(values.length).fill(0)
  for (let start = 0; start < order.length; ) {
    let end = start + 1
    while (end < order.length && values[order[end] ?? 0] === values[order[start] ?? 0]) end++
    for (const row of order.slice(start, end)) result[row] = (start + 1 + end) / 2
    start = end
  }
  return result
}
