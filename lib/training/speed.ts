import type { NativeBatch } from '../native/pass-types.js'

/** What a run takes a second. */
export interface Rates {
  readonly tokensPerSecond: number
  readonly rowsPerSecond: number
}

/** Of steps that took so long. */
export function ratesOf(steps: readonly { readonly tokens: number; readonly rows: number }[], seconds: number): Rates {
  const sum = (key: 'tokens' | 'rows') => steps.reduce((all, step) => all + step[key], 0)
  return { tokensPerSecond: sum('tokens') / seconds, rowsPerSecond: sum('rows') / seconds }
}

/** Choices of one question are one row, each window of a long text is one. */
export function rowsOf(batches: readonly { readonly batch: NativeBatch }[]): number {
  return batches.reduce((sum, { batch: { choices, rowLengths } }) => sum + (choices ?? rowLengths).length, 0)
}

/** `12,346 tokens/s, 98.8 rows/s` */
export function describeRates({ tokensPerSecond, rowsPerSecond }: Rates): string {
  const whole = (value: number) => Math.round(value).toLocaleString('en')
  const rows = rowsPerSecond < 100 ? String(Number(rowsPerSecond.toPrecision(3))) : whole(rowsPerSecond)
  return `${whole(tokensPerSecond)} tokens/s, ${rows} rows/s`
}

/** How fast a run trains; what it does beside is left out. */
export class Speed {
  #at = performance.now()
  #tokens = 0
  #rows = 0

  count(tokens: number, rows: number): void {
    this.#tokens += tokens
    this.#rows += rows
  }

  /** Time is not counted from here on, until what it gives is called. */
  pause(): () => void {
    const at = performance.now()
    return () => {
      this.#at += performance.now() - at
    }
  }

  /** Work that is no training: its time is not counted. */
  async aside<T>(work: () => Promise<T>): Promise<T> {
    const goOn = this.pause()
    const result = await work()
    goOn()
    return result
  }

  /** Since it was last asked. */
  take(): Rates {
    const seconds = (performance.now() - this.#at) / 1000
    const rates = { tokensPerSecond: this.#tokens / seconds, rowsPerSecond: this.#rows / seconds }
    this.#at = performance.now()
    this.#tokens = 0
    this.#rows = 0
    return rates
  }
}
