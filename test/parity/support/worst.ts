import type { ExecutionContext } from 'ava'
import type { Tensor } from './fixtures.js'

interface Cell {
  readonly error: number
  readonly where: string
}

/** Keeps the worst cell of each kind of value and every value that is past its tolerance. */
export class Worst {
  readonly #worst = new Map<string, Cell>()
  readonly #failures: string[] = []
  #count = 0

  /** `scale` gives what a difference is divided by, for each expected value. */
  compare(
    kind: string,
    where: string,
    got: Tensor,
    expected: Tensor,
    tolerance: number,
    scale: (value: number) => number
  ) {
    this.#count++
    if (String(got.shape) !== String(expected.shape) || got.data.length !== expected.data.length) {
      this.#failures.push(`${where}: shape [${expected.shape}] expected, got [${got.shape}]`)
      return
    }
    let worst = 0
    let at = 0
    for (let i = 0; i < expected.data.length; i++) {
      const value = expected.data[i] as number
      const error = Math.abs((got.data[i] as number) - value) / scale(value)
      // Not a number is worse than any number.
      if (!(error <= worst)) [worst, at] = [Number.isNaN(error) ? Number.POSITIVE_INFINITY : error, i]
    }
    const cell = `${where}[${at}]: ${expected.data[at]} expected, got ${got.data[at]}`
    if (worst >= (this.#worst.get(kind)?.error ?? 0)) this.#worst.set(kind, { error: worst, where: cell })
    if (worst > tolerance) this.#failures.push(`${cell} (error ${worst.toExponential(1)}, allowed ${tolerance})`)
  }

  /** Forward values: absolute and relative. */
  forward(where: string, got: Tensor, expected: Tensor, tolerance = 1e-5): void {
    this.compare('forward', where, got, expected, tolerance, (value) => 1 + Math.abs(value))
  }

  /**
   * Gradients: relative to the tensor's largest, but not to less than a hundredth of the case's largest. (A gate behind a
   * LayerNorm sums numbers that cancel: where a thousandth of the others is left, a float's own rounding is 3e-4 of it.)
   * Those of xIELU's own parameters are sums in bfloat16, one row after the other in Python.
   */
  gradient(where: string, got: Tensor, expected: Tensor, largest: number): void {
    const scale = Math.max(largestOf(expected), largest / 100)
    const isBfloat16 = /\.alpha_[np]$/.test(where)
    this.compare(
      isBfloat16 ? 'gradient in bfloat16' : 'gradient',
      where,
      got,
      expected,
      isBfloat16 ? 1e-2 : 1e-4,
      () => scale
    )
  }

  fail(message: string): void {
    this.#failures.push(message)
  }

  report(t: ExecutionContext): void {
    for (const [kind, { error, where }] of this.#worst) t.log(`${kind}: worst ${error.toExponential(1)} at ${where}`)
    t.deepEqual(this.#failures, [])
    t.true(this.#count > 0, 'nothing was compared')
  }
}

export const largestOf = ({ data }: Tensor): number => data.reduce((most, value) => Math.max(most, Math.abs(value)), 0)

export const scalar = (value: number | undefined): Tensor => ({ data: Float32Array.of(value ?? Number.NaN), shape: [] })
