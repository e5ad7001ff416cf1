/** How long the hub is waited for: a server that takes the connection and then says nothing would hold a call for ever. */

const seconds = (name: string): number => {
  const given = Number(process.env[name] ?? Number.NaN)
  return given > 0 ? given : 10
}

/** Until an answer begins, in seconds: HF_HUB_ETAG_TIMEOUT, default 10, as in Python. */
export const answerSeconds = (): number => seconds('HF_HUB_ETAG_TIMEOUT')

/** Until more of a file comes, in seconds: HF_HUB_DOWNLOAD_TIMEOUT, default 10, as in Python. */
export const restSeconds = (): number => seconds('HF_HUB_DOWNLOAD_TIMEOUT')

/** Calls `late` with an error where it is not told of progress for so long. */
export class Patience {
  #timer: NodeJS.Timeout | undefined

  constructor(
    private readonly limit: number,
    private readonly late: (error: Error) => void
  ) {
    this.progress()
  }

  progress(): void {
    this.end()
    const error = Object.assign(new Error(`nothing came for ${this.limit} seconds`), { code: 'ETIMEDOUT' })
    this.#timer = setTimeout(() => this.late(error), this.limit * 1000)
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

/** fetch that ends with the signal, or where no answer begins. */
export function patientFetch(signal: AbortSignal | undefined): typeof fetch {
  return async (input, init) => {
    const late = new AbortController()
    const patience = new Patience(answerSeconds(), (error) => late.abort(error))
    try {
      return await fetch(input, { ...init, signal: AbortSignal.any(signal ? [late.signal, signal] : [late.signal]) })
    } finally {
      patience.end()
    }
  }
}
