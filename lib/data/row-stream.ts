import * as check from '../config/check.js'
import { placeOf, type Row, takeRow, withPlace } from './dataset.js'
import { Random } from './random.js'

/** Rows that come one after the other, nobody knows how many: called for each pass over them. */
export type RowStream = () => AsyncIterable<Row | string> | Iterable<Row | string>

export interface PassOptions {
  /** For messages about rows that come from no file. */
  readonly name: string
  /** From 0. */
  readonly pass: number
  /** Rows that wait for their turn, any of which may be next; null: they keep their order. */
  readonly shuffleBufferSize: number | null
  readonly seed: number
}

/** The checked rows of one pass; the order follows from the stream, the seed and the pass alone. */
export async function* rowsOfPass(stream: RowStream, options: PassOptions): AsyncGenerator<Row, void, undefined> {
  const { pass, shuffleBufferSize, seed } = options
  const rows = checkedRows(stream, options)
  if (shuffleBufferSize === null) return yield* rows
  const random = Random.fromSeed(seed, pass)
  const waiting: Row[] = []
  for await (const row of rows) {
    if (waiting.length < shuffleBufferSize) {
      waiting.push(row)
      continue
    }
    const drawn = random.nextBelow(waiting.length)
    yield waiting[drawn] as Row
    waiting[drawn] = row
  }
  for (const drawn of random.shuffle(Uint32Array.from(waiting.keys()))) yield waiting[drawn] as Row
}

async function* checkedRows(stream: RowStream, { name, pass }: PassOptions): AsyncGenerator<Row, void, undefined> {
  const rows: unknown = stream()
  const isIterable =
    typeof rows === 'object' && rows !== null && (Symbol.asyncIterator in rows || Symbol.iterator in rows)
  if (!isIterable) {
    const later = rows instanceof Promise ? ' (to wait for rows, an async function* that yields them)' : ''
    throw check.typeError(`${name}()`, `an iterable or an async iterable of rows${later}`, rows)
  }
  let count = 0
  for await (const given of rows as AsyncIterable<unknown>) {
    const place = `${name}[${count}]`
    count++
    const row = takeRow(given, place)
    yield withPlace(row, placeOf(row, place))
  }
  if (count > 0) return
  const help = 'It is called for each pass until maxSteps, and has to give its rows anew each time.'
  throw check.valueError(name, `the stream gave no rows in pass ${pass + 1}. ${help}`)
}
