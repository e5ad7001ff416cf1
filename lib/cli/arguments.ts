import { statSync } from 'node:fs'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { snakeCase } from '../config/case.js'
import { quoted } from '../config/check.js'
import { ownNameOf, reasonAgainst } from '../config/foreign-arguments.js'
import { nearest, plain } from '../config/nearest.js'
import { AdapterError } from '../native/errors.js'

/** Every command ends with one of these. */
export const exitStatus = { done: 0, failed: 1, wrongUse: 2, interrupted: 130 } as const

type Options = NonNullable<ParseArgsConfig['options']>
type Token = { readonly kind: string; readonly name?: string; readonly value?: unknown }
type Parsed<O extends Options> = ReturnType<typeof parseArgs<{ options: O; allowPositionals: boolean }>>['values']

/** For mistakes on the command line: the dispatcher points to --help and ends with status 2. */
export function usageError(problem: string): AdapterError {
  return new AdapterError('ERR_PARSE_ARGS_VALUE', '', problem)
}

/** What other programs call an option. */
const elsewhere: Readonly<Record<string, string>> = {
  ...{ lr: 'learning-rate', numtrainepochs: 'epochs', numepochs: 'epochs', trainfile: 'train', evalfile: 'eval' },
  ...{ validationfile: 'eval', perdevicetrainbatchsize: 'batch-size', bs: 'batch-size', outputdir: 'output' },
  ...{ modelnameorpath: 'model', adapterconfig: 'config', savestrategy: 'save', resumefromcheckpoint: 'resume-from' }
}

/**
 * node:util's parseArgs, with the nearest spelling of an unknown option, and operands: `[FOLDER]` may be left out.
 * @param longNames what options are called, too, before they come here
 */
export function parseCommand<const O extends Options>(
  argv: readonly string[],
  options: O,
  operands: readonly string[] = [],
  longNames: readonly string[] = []
): { readonly values: Parsed<O>; readonly operands: readonly string[] } {
  try {
    const allowPositionals = operands.length > 0
    const parsed = parseArgs({ args: [...argv], options, allowPositionals, allowNegative: true, tokens: true })
    refuseSecondRows(parsed.tokens)
    const wantsHelp = (parsed.values as Record<string, unknown>)['help'] === true
    const count = parsed.positionals.length
    const least = operands.filter((operand) => !operand.startsWith('[')).length
    if (!wantsHelp && (count < least || count > operands.length)) {
      throw usageError(`expected ${operands.join(' and ')}, got ${parsed.positionals.join(' ') || 'nothing'}`)
    }
    return { values: parsed.values, operands: parsed.positionals }
  } catch (error) {
    const { code, message } = error as Error & { code?: string }
    const ambiguous = /^Option '([^']+)' argument is ambiguous/.exec(message)?.[1]
    if (ambiguous !== undefined) {
      const option = ambiguous.split(' ').at(-1)
      throw usageError(`${option}: expected a value; one that begins with '-' is given as ${option}=VALUE`)
    }
    const unknown = /Unknown option '--?([^']*)'/.exec(message)?.[1]
    if (code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION' || unknown === undefined) throw error
    const isOption = (name = '') => Object.hasOwn(options, name) || longNames.includes(name)
    const other = elsewhere[plain(unknown)] ?? kebabCase(ownNameOf(unknown))
    // What trains takes training arguments.
    const reason = Object.hasOwn(options, 'max-steps') ? reasonAgainst(unknown) : undefined
    if (reason !== undefined) throw usageError(`unknown option '--${unknown}': ${reason}`)
    const near = nearest(unknown, [...Object.keys(options), ...longNames, ...Object.keys(elsewhere)]) ?? ''
    const guess = [other, elsewhere[near], near].find((name) => isOption(name))
    throw usageError(`unknown option '--${unknown}'${guess === undefined ? '' : ` (did you mean '--${guess}'?)`}`)
  }
}

const rowsOptions: readonly string[] = ['train', 'data']

/** Of other options the last one holds, as is usual; of rows the first ones would be lost without a word. */
function refuseSecondRows(tokens: readonly Token[]): void {
  for (const option of rowsOptions) {
    const given = new Set(
      tokens.flatMap(({ name, value }) => (name === option && typeof value === 'string' ? value : []))
    )
    if (given.size > 1) {
      throw usageError(`--${option}: expected one file, got ${quoted(given)}: put the rows of all into one file`)
    }
  }
}

const kebabCase = (name = ''): string => snakeCase(name).replaceAll('_', '-')

export function required(name: string, value: string | undefined): string {
  if (value === undefined || value === '') throw usageError(`--${name} is missing`)
  return value
}

export function numberOption(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const number = value.trim() === '' ? Number.NaN : Number(value)
  if (Number.isFinite(number)) return number
  throw usageError(`--${name}: expected a number, got '${value}'`)
}

export function countOption(name: string, value: string | undefined): number | undefined {
  const number = numberOption(name, value)
  if (number === undefined || (Number.isSafeInteger(number) && number > 0)) return number
  throw usageError(`--${name}: expected a positive integer, got '${value}'`)
}

export function choiceOption<const T extends string>(name: string, value: string, choices: readonly T[]): T {
  if ((choices as readonly string[]).includes(value)) return value as T
  const guess = nearest(value, choices)
  const help = guess === undefined ? '' : ` (did you mean '${guess}'?)`
  throw usageError(`--${name}: expected one of ${quoted(choices)}, got '${value}'${help}`)
}

/** A check of the library whose failure is a mistake on the command line. */
export function fromOptions<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    const isMistake = error instanceof TypeError || error instanceof RangeError || error instanceof AdapterError
    if (isMistake) throw usageError(error.message)
    throw error
  }
}

/** The same for what is read first. */
export async function fromFile<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    return fromOptions<T>(() => {
      throw error
    })
  }
}

/** A file of options; CONFIG is given without a name. */
export function configFile(path: string, name = 'CONFIG'): string {
  const found = statSync(path, { throwIfNoEntry: false })
  if (/\.(jsonl|ndjson|csv|tsv|parquet)$/i.test(path)) {
    throw usageError(
      `${name}: expected a file of options, JSON or YAML, got ${path}: rows are given as --train ${path}`
    )
  }
  if (found?.isFile() === true) return path
  const what = found === undefined ? 'does not exist' : 'is no file'
  const note = name === 'CONFIG' ? " (an adapter's config is given as --config)" : ''
  throw usageError(`${name}: ${path} ${what}; expected a file of options, JSON or YAML${note}`)
}

export function inputFile(name: string, path: string): string {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isFile() === true) return path
  if (found === undefined) throw usageError(`--${name}: ${path} does not exist`)
  const what = found.isDirectory() ? 'a folder' : 'a pipe or a device: write its rows to a file first'
  throw usageError(`--${name}: expected a file, got ${path}, which is ${what}`)
}

/** Stands for standard input where rows are read one by one. */
export const standardInput = '-'

/** A file of rows, or standard input. */
export function inputRows(name: string, path: string): string {
  return path === standardInput ? path : inputFile(name, path)
}
