import { closeSync, openSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { makeFolder } from '../../native/make-folder.js'
import { diskError } from '../disk-error.js'
import { crc32c } from './crc32c.js'
import { metricsOf } from './history.js'
import type { RunLine, StartLine } from './lines.js'

/**
 * Scalars as TensorBoard reads them: a file of TFRecords, each a protobuf message `Event` (tensorflow/core/util/event.proto)
 * with a `Summary` of `{ tag, simple_value }`. Tags are those of Hugging Face's Trainer: train/loss, eval/accuracy, …; a
 * task's stand below its name.
 *
 *   record: length (u64), its masked CRC-32C (u32), data, its masked CRC-32C (u32), all little-endian
 *   Event: wall_time = 1 (double), step = 2 (int64), file_version = 3, summary = 5, session_log = 7 { status = 1: START }
 */
export class TensorBoardFile {
  readonly #file: string
  readonly #handle: number

  constructor(folder: string, start: StartLine) {
    const { pid } = start.process
    this.#file = join(folder, `events.out.tfevents.${Math.floor(seconds(start))}.${hostname()}.${pid}.${created++}`)
    try {
      makeFolder(folder)
      this.#handle = openSync(this.#file, 'w')
    } catch (error) {
      throw diskError(this.#file, 'write for TensorBoard', error)
    }
    this.#write(message(seconds(start), 0, textField(3, 'brain.Event:2')))
    // It drops what an earlier part of the run wrote from this step on.
    this.#write(message(seconds(start), start.step + 1, bytesField(7, varintField(1, sessionStart))))
  }

  take(line: RunLine): void {
    const scalars = Object.entries(scalarsOf(line)).filter(([, value]) => value !== null && value !== undefined)
    if (scalars.length === 0) return
    const task = 'task' in line && line.task !== undefined ? `${line.task}/` : ''
    const values = scalars.map(([tag, value]) => bytesField(1, [...textField(1, task + tag), ...floatField(2, value)]))
    this.#write(message(seconds(line), line.step, bytesField(5, values.flat())))
  }

  #write(data: Uint8Array): void {
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(data.length))
    try {
      writeSync(this.#handle, Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]))
    } catch (error) {
      throw diskError(this.#file, 'write for TensorBoard', error)
    }
  }

  close(): void {
    closeSync(this.#handle)
  }
}

/** Two files of one process in one second have different names. */
let created = 0

const sessionStart = 1

const seconds = ({ time }: { readonly time: string }): number => Date.parse(time) / 1000

function scalarsOf(line: RunLine): Readonly<Record<string, number>> {
  if (line.type === 'steps') {
    const { loss, learningRate, gradNorm, epoch } = line
    const scalars = { 'train/loss': loss, 'train/learning_rate': learningRate, 'train/grad_norm': gradNorm }
    return { ...scalars, 'train/epoch': epoch }
  }
  if (line.type === 'log') {
    return { 'train/tokens_per_second': line.tokensPerSecond, 'train/rows_per_second': line.rowsPerSecond }
  }
  if (line.type !== 'evaluate') return {}
  const metrics = Object.entries(metricsOf(line)).map(([name, value]) => [`eval/${name.replace('.', '/')}`, value])
  return { 'eval/loss': line.loss, ...Object.fromEntries(metrics) }
}

function message(wallTime: number, step: number, rest: readonly number[]): Uint8Array {
  const time = Buffer.alloc(8)
  time.writeDoubleLE(wallTime)
  return Uint8Array.from([...key(1, 1), ...time, ...varintField(2, step), ...rest])
}

/** Wire types: 0 varint, 1 eight bytes, 2 bytes with their length, 5 four bytes. */
const key = (field: number, wire: number): number[] => [(field << 3) | wire]

const varintField = (field: number, value: number): number[] => [...key(field, 0), ...varint(value)]

const bytesField = (field: number, bytes: ArrayLike<number>): number[] => [
  ...key(field, 2),
  ...varint(bytes.length),
  ...Array.from(bytes)
]

const textField = (field: number, text: string): number[] => bytesField(field, Buffer.from(text))

function floatField(field: number, value: number): number[] {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return [...key(field, 5), ...bytes]
}

/** Seven bits a byte, the lowest first; all but the last byte have the highest bit set. */
function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  return [...bytes, rest]
}

/** TFRecord's: turned by 15 bits and moved on, so that a CRC of data with a CRC in it stays a good one. */
function maskedCrc(data: Uint8Array): Buffer {
  const crc = crc32c(data)
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0)
  return bytes
}
