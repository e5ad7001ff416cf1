import { setImmediate } from 'node:timers/promises'

/** Milliseconds that the thread may be held at a stretch: a timer of 20 ms is to come within 20 more. */
const longest = 5

/** Of work in pieces: between them the thread does what else it has to, as soon as it was held for long enough. */
export class Pauses {
  #since = performance.now()

  /** Behind each piece; undefined where the next one may follow at once. */
  take(): Promise<void> | undefined {
    return performance.now() - this.#since < longest ? undefined : this.#pause()
  }

  async #pause(): Promise<void> {
    await setImmediate()
    this.#since = performance.now()
  }
}
