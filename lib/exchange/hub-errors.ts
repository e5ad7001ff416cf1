import { HubApiError } from '@huggingface/hub'
import { AdapterError } from '../native/errors.js'
import { nearFolders } from './near-folders.js'

export interface HubPlace {
  readonly repository: string
  readonly revision: string
  readonly endpoint: string
  readonly hasToken: boolean
}

const operation = 'fetch from the hub'

/** What the hub or the network said, with what to do about it. */
export function hubError(cause: unknown, place: HubPlace): AdapterError {
  if (cause instanceof AdapterError) return cause
  if (cause instanceof HubApiError) return apiError(cause, place)
  const { repository, endpoint } = place
  // Some of those who see this meant a folder.
  const problem = `there is no folder '${repository}' here, and ${endpoint} cannot be reached: ${networkReason(cause)}`
  return new AdapterError('ERR_NETWORK', operation, problem, {
    hint: `${nearFolders(repository) || 'Check the spelling.'} For a hub id, check the network; HF_HUB_OFFLINE=1 uses the cache alone.`,
    cause
  })
}

function apiError(cause: HubApiError, place: HubPlace): AdapterError {
  const { repository, revision, endpoint, hasToken } = place
  const status = cause.statusCode
  const got = `status ${status} from ${endpoint}`
  // Without a token the hub answers 401 for what is private and for what does not exist alike.
  if (status === 404 || (status === 401 && !hasToken)) {
    const other = status === 401 ? ', or it is private: set HF_TOKEN to a token that may read it' : ''
    const where = revision === 'main' ? '' : ` at revision '${revision}'`
    const near = nearFolders(repository)
    return new AdapterError('ERR_HUB_NOT_FOUND', operation, `there is no repository '${repository}'${where}`, {
      got,
      hint: ['There is no folder of that name here either.', near, `Check the spelling${other}.`]
        .filter(Boolean)
        .join(' '),
      cause
    })
  }
  if (status === 401 || status === 403) {
    return new AdapterError('ERR_HUB_ACCESS', operation, `the token may not read '${repository}'`, {
      got,
      hint: 'Ask for access on its page, or set HF_TOKEN to a token that may read it.',
      cause
    })
  }
  const hint = status === 429 ? 'The hub wants fewer requests: try again later.' : 'Try again later.'
  return new AdapterError('ERR_HUB', operation, `the hub could not serve '${repository}'`, { got, hint, cause })
}

/** fetch hides the system's reason behind "fetch failed". */
function networkReason(error: unknown): string {
  let innermost = error
  while (innermost instanceof Error && innermost.cause instanceof Error) innermost = innermost.cause
  if (!(innermost instanceof Error)) return String(innermost)
  const { code } = innermost as NodeJS.ErrnoException
  return code === undefined ? innermost.message : `${code} ${innermost.message}`
}

/** Worth another attempt: the network, and the server's own faults. */
export function isPassing(error: unknown): boolean {
  if (error instanceof AdapterError) return false
  if (error instanceof HubApiError) return error.statusCode >= 500
  return !(error instanceof Error && error.name === 'AbortError')
}
