import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { isPlainObject } from '../config/check.js'
import { AdapterError } from '../native/errors.js'

export interface SafetensorsPart {
  readonly file: string
  /** The name in the merged file. */
  readonly rename: (name: string) => string
}

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

interface Header {
  readonly tensors: Readonly<Record<string, Entry>>
  /** Names that point to others, as safetensors.torch.save_model keeps tensors that stand in several places. */
  readonly aliases: Readonly<Record<string, string>>
  readonly dataAt: number
  readonly size: number
}

const chunk = 8 * 1024 * 1024

/** Puts files that this library wrote into one, without reading their tensors into memory. */
export function mergeSafetensors(target: string, parts: readonly SafetensorsPart[]): void {
  const headers = parts.map(({ file }) => readHeader(file))
  const merged: Record<string, unknown> = {}
  const metadata: Record<string, string> = { format: 'pt' }
  let at = 0
  headers.forEach(({ tensors, aliases, size }, i) => {
    const rename = (parts[i] as SafetensorsPart).rename
    for (const [
      name,
      {
        dtype,
        shape,
        data_offsets: [from, to]
      }
    ] of Object.entries(tensors)) {
      const key = rename(name)
      if (Object.hasOwn(merged, key)) throw invalid((parts[i] as SafetensorsPart).file, `two tensors are called ${key}`)
      merged[key] = { dtype, shape, data_offsets: [from + at, to + at] }
    }
    for (const [name, other] of Object.entries(aliases)) metadata[rename(name)] = rename(other)
    at += size
  })
  // Readers map the file: data begins at a multiple of eight.
  const json = JSON.stringify({ __metadata__: metadata, ...merged })
  const text = Buffer.from(json + ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8))
  const output = openSync(target, 'w')
  try {
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(text.length))
    writeSync(output, length)
    writeSync(output, text)
    parts.forEach(({ file }, i) => {
      copyData(file, headers[i] as Header, output)
    })
  } finally {
    closeSync(output)
  }
}

function readHeader(file: string): Header {
  const input = openSync(file, 'r')
  try {
    const length = Buffer.alloc(8)
    readSync(input, length, 0, 8, 0)
    const text = Buffer.alloc(Number(length.readBigUInt64LE()))
    readSync(input, text, 0, text.length, 8)
    const { __metadata__: metadata = {}, ...tensors } = JSON.parse(text.toString('utf8'))
    if (!isPlainObject(metadata)) throw invalid(file, 'its metadata is no object')
    const { format: _, ...aliases } = metadata as Record<string, string>
    const ends = Object.values(tensors as Record<string, Entry>).map(({ data_offsets: [, end] }) => end)
    const size = ends.reduce((most, end) => Math.max(most, end), 0)
    return { tensors, aliases, dataAt: 8 + text.length, size }
  } finally {
    closeSync(input)
  }
}

function copyData(file: string, { dataAt, size }: Header, output: number): void {
  const input = openSync(file, 'r')
  try {
    const buffer = Buffer.alloc(Math.min(chunk, size))
    for (let done = 0; done < size; ) {
      const count = readSync(input, buffer, 0, Math.min(buffer.length, size - done), dataAt + done)
      if (count === 0) throw invalid(file, 'it ends too early')
      writeSync(output, buffer, 0, count)
      done += count
    }
  } finally {
    closeSync(input)
  }
}

function invalid(file: string, problem: string): AdapterError {
  return new AdapterError('ERR_INVALID_FILE', 'save the model', `${file}: ${problem}`)
}
