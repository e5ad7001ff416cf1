import { Patience } from '../native/patience.js'

/** How long the hub is waited for: a server that takes the connection and then says nothing would hold a call for ever. */

const seconds = (name: string): number => {
  const given = Number(process.env[name] ?? Number.NaN)
  return given > 0 ? given : 10
}

/** Until an answer begins, in seconds: HF_HUB_ETAG_TIMEOUT, default 10, as in Python. */
export const answerSeconds = (): number => seconds('HF_HUB_ETAG_TIMEOUT')

/** Until more of a file comes, in seconds: HF_HUB_DOWNLOAD_TIMEOUT, default 10, as in Python. */
export const restSeconds = (): number => seconds('HF_HUB_DOWNLOAD_TIMEOUT')

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
