import { HubApiError } from '@huggingface/hub'
import { AdapterError } from '../native/errors.js'
import { nearFolders } from './near-folders.js'

export interface HubPlace {
  readonly repository: string
  readonly revision: string
  readonly endpoint: string
  readonly hasToken: boolean
  /** Its files have been listed: it is there, and may be seen. */
  isListed: boolean
}

const operation = 'fetch from the hub'

/** What a caller's own function threw: neither the hub's fault nor worth another attempt. */
export class OfCaller extends Error {
  constructor(override readonly cause: unknown) {
    super('of the caller')
  }
}

/** What the hub or the network said, with what to do about it. */
export function hubError(cause: unknown, place: HubPlace): AdapterError {
  if (cause instanceof AdapterError) return cause
  if (cause instanceof HubApiError) return apiError(cause, place)
  const { repository, endpoint } = place
  if (isOfDisk(cause)) {
    return new AdapterError('ERR_CACHE', operation, `the cache cannot be written to: ${cause.message}`, {
      hint: 'Free some space, or set HF_HOME (or cacheDir) to a folder that can be written.',
      cause
    })
  }
  if (!isOfNetwork(cause)) return strangeAnswer(endpoint, (cause as Error).message, cause)
  const reason = networkReason(cause)
  if (place.isListed) {
    return new AdapterError('ERR_NETWORK', operation, `${endpoint} stopped serving '${repository}': ${reason}`, {
      hint: 'What has come is kept: the same command goes on from there. HF_HUB_OFFLINE=1 uses the cache alone.',
      cause
    })
  }
  // Some of those who see this meant a folder.
  const problem = `there is no folder '${repository}' here, and ${endpoint} cannot be reached: ${reason}`
  return new AdapterError('ERR_NETWORK', operation, problem, {
    hint: `${nearFolders(repository) || 'Check the spelling.'} For a hub id, check the network; HF_HUB_OFFLINE=1 uses the cache alone.`,
    cause
  })
}

/** What is no hub, such as the page of a proxy or of a network that wants a login. */
export function strangeAnswer(endpoint: string, what: string, cause?: unknown): AdapterError {
  return new AdapterError('ERR_HUB', operation, `${endpoint} does not answer as a hub does: ${what}`, {
    hint: 'Check HF_ENDPOINT, and whether a proxy or a login page stands in between.',
    cause
  })
}

function apiError(cause: HubApiError, place: HubPlace): AdapterError {
  const { repository, revision, endpoint, hasToken, isListed } = place
  const status = cause.statusCode
  const got = `status ${status} from ${endpoint}`
  // Without a token the hub answers 401 for what is private and for what does not exist alike.
  if (status === 404 || (status === 401 && !hasToken && !isListed)) {
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
    const problem = hasToken
      ? `the token may not read '${repository}'`
      : `'${repository}' is not for everybody, and no token is set`
    const ask = 'Ask for access on its page, '
    return new AdapterError('ERR_HUB_ACCESS', operation, problem, {
      got,
      hint: `${ask}${hasToken ? 'or' : 'and'} set HF_TOKEN to a token that may read it.`,
      cause
    })
  }
  const hint = status === 429 ? 'The hub wants fewer requests: try again later.' : 'Try again later.'
  return new AdapterError('ERR_HUB', operation, `the hub could not serve '${repository}'`, { got, hint, cause })
}

/** Why the hub was of no use, in a few words. */
export function shortReason(cause: unknown, { endpoint }: HubPlace): string {
  if (cause instanceof HubApiError) return `${endpoint} answers with status ${cause.statusCode}`
  return isOfNetwork(cause)
    ? `${endpoint} cannot be reached (${networkReason(cause)})`
    : `${endpoint} does not answer as a hub does`
}

const codesOfDisks: readonly (string | undefined)[] = [
  'ENOSPC',
  'EDQUOT',
  'EROFS',
  'EACCES',
  'EPERM',
  'ENOTDIR',
  'EISDIR'
]

const isOfDisk = (error: unknown): error is Error =>
  error instanceof Error && codesOfDisks.includes((error as NodeJS.ErrnoException).code)

/** Errors of a connection are fetch's, or carry the code of the system or of what made it; what cannot be read has none. */
function isOfNetwork(error: unknown): boolean {
  for (let one = error; one instanceof Error; one = one.cause) {
    if (one.message === 'fetch failed' || one.name === 'TimeoutError') return true
    if ((one as NodeJS.ErrnoException).code !== undefined) return true
  }
  return false
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
  if (error instanceof AdapterError || error instanceof OfCaller || isOfDisk(error)) return false
  if (error instanceof HubApiError) return error.statusCode >= 500
  return !(error instanceof Error && error.name === 'AbortError')
}
