/** Calls `late` with an error where it is not told of progress for so many seconds. */
export class Patience {
  #timer: NodeJS.Timeout | undefined

  constructor(
    private readonly seconds: number,
    private readonly late: (error: Error) => void
  ) {
    this.progress()
  }

  progress(): void {
    this.end()
    const error = Object.assign(new Error(`nothing came for ${this.seconds} seconds`), { code: 'ETIMEDOUT' })
    this.#timer = setTimeout(() => this.late(error), this.seconds * 1000)
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}
