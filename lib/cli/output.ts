import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { snakeCase } from '../config/case.js'
import { isPlainObject } from '../config/check.js'
import { fileError } from '../config/read-json.js'
import { makeFolder } from '../native/make-folder.js'
import { usageError } from './arguments.js'

/** Values of these keys are the words of others: a label may be called anything, and arguments have the names they have. */
const untouched = ['config', 'label2id', 'run']

/** Objects with their keys in snake_case, as JSON spells them here; typed arrays as arrays. */
export function forJson(value: unknown): unknown {
  if (ArrayBuffer.isView(value) && 'length' in value) return Array.from(value as Float32Array)
  if (Array.isArray(value)) return value.map(forJson)
  if (!isPlainObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => [snakeCase(key), untouched.includes(key) ? field : forJson(field)])
  )
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(forJson(value), null, 2)}\n`)
}

/** One object on one line. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(forJson(value))}\n`
}

const isFolder = (path: string) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true

/** Before work whose result goes there: a place that cannot be written must not cost the work. */
export function checkOutputFile(
  option: string,
  file: string,
  inputs: Readonly<Record<string, string | undefined>> = {}
): void {
  for (const [name, input] of Object.entries(inputs)) {
    if (input === undefined || !existsSync(file) || realpathSync(file) !== realpathSync(input)) continue
    throw usageError(`--${option}: ${file} is what --${name} reads; give another place`)
  }
  if (file === '-') throw usageError(`--${option}: answers go to standard output where --${option} is left out`)
  if (isFolder(file)) throw usageError(`--${option}: expected a file, got ${file}, which is a folder`)
  // Whoever reads a pipe would take it for the end.
  if (!isChannel(file)) new FileOutput(file).discard()
}

/** The same for a folder; it is made. */
export function checkOutputFolder(option: string, folder: string): void {
  try {
    makeFolder(folder)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === 'EEXIST' || code === 'ENOTDIR' ? 'which is a file or lies below one' : message
    throw usageError(`--${option}: expected a folder that can be made, got ${folder}, ${why}`)
  }
  new FileOutput(join(folder, 'write-test')).discard()
}

/** What a run made that then had nothing to put there. */
export function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // It holds something, or is gone.
  }
}

/** A pipe, a device: what is written goes through it, and nothing else may take its name. */
function isChannel(file: string): boolean {
  const found = statSync(file, { throwIfNoEntry: false })
  return found !== undefined && !found.isFile() && !found.isDirectory()
}

/**
 * Writes piece by piece under a temporary name; the file has its own only when it is whole. A link keeps its place, the file
 * behind it is another; into a pipe or a device each piece goes at once.
 */
export class FileOutput {
  readonly #target: string
  readonly #stage: string | undefined
  readonly #handle: number

  constructor(private readonly file: string) {
    try {
      makeFolder(dirname(file))
      const channel = isChannel(file)
      this.#target = channel || !existsSync(file) ? file : realpathSync(file)
      this.#stage = channel ? undefined : `${this.#target}.${process.pid}.part`
      this.#handle = openSync(this.#stage ?? file, 'w')
    } catch (error) {
      throw fileError(file, 'write', error)
    }
  }

  write(text: string): void {
    this.#try(() => writeFileSync(this.#handle, text))
  }

  finish(): void {
    const stage = this.#stage
    if (stage !== undefined) this.#try(() => fsyncSync(this.#handle))
    closeSync(this.#handle)
    if (stage !== undefined) this.#try(() => renameSync(stage, this.#target))
  }

  discard(): void {
    closeSync(this.#handle)
    if (this.#stage !== undefined) rmSync(this.#stage, { force: true })
  }

  #try(change: () => void): void {
    try {
      change()
    } catch (error) {
      throw fileError(this.file, 'write', error)
    }
  }
}
