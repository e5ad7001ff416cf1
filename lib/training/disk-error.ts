import { AdapterError } from '../native/errors.js'

const full = new Set(['ENOSPC', 'EDQUOT'])
const taken = new Set(['EEXIST', 'ENOTDIR'])
const forbidden = new Set(['EACCES', 'EPERM', 'EROFS'])

/**
 * What a failed write means for a run: which folder, why, and what to do. Anything but a file's error comes back as it is.
 * @param hint what else is good to know, as a clause
 */
export function diskError(folder: string, operation: string, cause: unknown, hint = ''): unknown {
  const code = reasonOf(cause)
  if (code === undefined) return cause
  const [error, problem, advice] = explain(folder, code)
  return new AdapterError(error, operation, problem, { hint: `${advice}${hint === '' ? '' : `; ${hint}`}.`, cause })
}

/** The same error with what else is good to know, as a clause; any other comes back as it is. */
export function withHint(error: unknown, hint: string): unknown {
  const isDisk = error instanceof AdapterError && (error.code === 'ERR_DISK' || error.code === 'ERR_FILE')
  if (!isDisk || hint === '') return error
  const { code, operation, problem, hint: advice = '', cause } = error
  const start = operation === '' ? '' : `${operation}: `
  const told = problem.startsWith(start) ? problem.slice(start.length) : problem
  return new AdapterError(code, operation, told, { hint: `${advice.replace(/\.$/, '')}; ${hint}.`, cause })
}

function explain(folder: string, code: string): readonly ['ERR_DISK' | 'ERR_FILE', string, string] {
  if (full.has(code)) return ['ERR_DISK', `no space left for ${folder}`, 'Free some space, or take another disk']
  if (taken.has(code)) return ['ERR_FILE', `${folder} is no folder`, 'Check the path']
  const advice = forbidden.has(code) ? "Check the folder's permissions" : 'Check the path'
  return ['ERR_FILE', `${folder} cannot be written to: ${code}`, advice]
}

/** The system's name for what went wrong with a file, or the core's. */
function reasonOf(cause: unknown): string | undefined {
  if (cause instanceof AdapterError) {
    const below = cause.cause
    if (cause.code === 'ERR_DISK') return 'ENOSPC'
    if (cause.code === 'ERR_FILE' && below instanceof Error && 'syscall' in below) return reasonOf(below)
    if (cause.code !== 'ERR_FILE_IO') return undefined
    // The core's sentence for a full disk: see atomic_file_posix.cc and windows_path.h.
    return cause.hint?.startsWith('Free some space') === true ? 'ENOSPC' : cause.message
  }
  if (!(cause instanceof Error && 'syscall' in cause)) return undefined
  return (cause as NodeJS.ErrnoException).code ?? cause.message
}
