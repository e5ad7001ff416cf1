import { readFileSync, statSync } from 'node:fs'
import { AdapterError } from '../native/errors.js'
import { describe } from './check.js'

/** Far above any real config file, far below what could fill the memory. */
const largestFile = 16 * 1024 * 1024

/** A JSON object from a file that someone else wrote: bounded in size, and every failure says which file and why. */
export function readJsonObject(file: string, operation: string, limit = largestFile): Record<string, unknown> {
  return parseJsonObject(readText(file, operation, limit), file, operation)
}

export function parseJsonObject(text: string, file: string, operation: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new AdapterError('ERR_INVALID_FILE', operation, `${file} is not valid JSON: ${(cause as Error).message}`, {
      hint: 'Write or download the file again.',
      cause
    })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new AdapterError('ERR_INVALID_FILE', operation, `${file} does not hold what it should`, {
      expected: 'a JSON object',
      got: describe(value),
      hint: 'Check that this is the right file.'
    })
  }
  return value as Record<string, unknown>
}

/** A text file as a string, without a byte order mark. What tells no size, such as a pipe, is refused: it may have no end. */
export function readText(file: string, operation: string, limit = largestFile): string {
  try {
    const found = statSync(file)
    if (!found.isFile() && !found.isDirectory()) {
      throw new AdapterError('ERR_FILE', operation, `${file} is not a regular file`, {
        hint: 'Give a file that lies on a disk.'
      })
    }
    const { size } = found
    if (size > limit) {
      throw new AdapterError('ERR_INVALID_FILE', operation, `${file} is too large for this kind of file`, {
        expected: `at most ${limit} bytes`,
        got: `${size} bytes`,
        hint: 'Check that this is the right file.'
      })
    }
    return readFileSync(file, 'utf8').replace(/^\ufeff/, '')
  } catch (error) {
    throw error instanceof AdapterError ? error : fileError(file, operation, error)
  }
}

/** A failed file operation as an error of ours: the file, and the system's reason. */
export function fileError(file: string, operation: string, cause: unknown): AdapterError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new AdapterError('ERR_FILE_NOT_FOUND', operation, `${file} does not exist`, {
      hint: 'Check the path.',
      cause
    })
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const hint = 'Free some space, or take another disk.'
    return new AdapterError('ERR_DISK', operation, `no space left for ${file}`, { hint, cause })
  }
  const kind = otherKind[code]
  if (kind !== undefined) {
    return new AdapterError('ERR_FILE', operation, `${file} ${kind}`, { hint: 'Check the path.', cause })
  }
  return new AdapterError('ERR_FILE', operation, `${file} cannot be used: ${code}`, {
    hint: "Check the path and the file's permissions.",
    cause
  })
}

const otherKind: Readonly<Record<string, string>> = {
  EEXIST: 'is a file, where a folder is needed',
  EISDIR: 'is a folder, where a file is needed'
}

/**
 * Runs a validator over a file's content, so that its TypeError or RangeError names the file. JSON has no undefined: what
 * is undefined is not there.
 */
export function inFile<T>(file: string, operation: string, validate: () => T): T {
  try {
    return validate()
  } catch (cause) {
    if (!(cause instanceof TypeError || cause instanceof RangeError) || !('code' in cause)) throw cause
    throw new AdapterError(
      'ERR_INVALID_FILE',
      operation,
      `${file}: ${cause.message.replace(/got undefined$/, 'got nothing')}`,
      { cause }
    )
  }
}
