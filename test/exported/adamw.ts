/** AdamW in double precision, one parameter at a time. */
export class AdamW {
  readonly #moments = new Map<string, { m: Float64Array; v: Float64Array }>()
  #step = 0

  constructor(
    readonly rate: number,
    readonly decay: number
  ) {}

  next(values: Map<string, Float32Array>, gradients: Map<string, Float32Array>): Map<string, Float32Array> {
    this.#step++
    return new Map(
      [...values].map(([name, old]) => {
        const { m, v } = this.#moments.get(name) ?? { m: new Float64Array(old.length), v: new Float64Array(old.length) }
        this.#moments.set(name, { m, v })
        const gradient = gradients.get(name) ?? new Float32Array(old.length)
        const changed = Float32Array.from(old, (value, i) => {
          const g = gradient[i] ?? 0
          m[i] = 0.9 * (m[i] ?? 0) + 0.1 * g
          v[i] = 0.999 * (v[i] ?? 0) + 0.001 * g * g
          const mean = (m[i] ?? 0) / (1 - 0.9 ** this.#step)
          const spread = Math.sqrt((v[i] ?? 0) / (1 - 0.999 ** this.#step)) + 1e-8
          return value * (1 - this.rate * this.decay) - (this.rate * mean) / spread
        })
        return [name, changed]
      })
    )
  }
}
