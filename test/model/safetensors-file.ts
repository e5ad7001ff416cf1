import { readFileSync, writeFileSync } from 'node:fs'

export interface StoredTensor {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly bytes: Buffer
}

/** A safetensors file taken apart, so that a test can change one thing in it. */
export function readTensors(file: string): Map<string, StoredTensor> {
  const all = readFileSync(file)
  const length = Number(all.readBigUInt64LE(0))
  const { __metadata__: _, ...header } = JSON.parse(all.toString('utf8', 8, 8 + length))
  return new Map(
    Object.entries(header as Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to]
        }
      ]) => [name, { dtype, shape, bytes: all.subarray(8 + length + from, 8 + length + to) }]
    )
  )
}

export function writeTensors(file: string, tensors: ReadonlyMap<string, StoredTensor>): void {
  let at = 0
  const header = Object.fromEntries(
    [...tensors].map(([name, { dtype, shape, bytes }]) => {
      const data_offsets = [at, at + bytes.length]
      at += bytes.length
      return [name, { dtype, shape, data_offsets }]
    })
  )
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(file, Buffer.concat([length, text, ...Array.from(tensors.values(), ({ bytes }) => bytes)]))
}

/** Rewrites a file after a change to its tensors. */
export function editTensors(file: string, change: (tensors: Map<string, StoredTensor>) => void): void {
  const tensors = readTensors(file)
  change(tensors)
  writeTensors(file, tensors)
}

export const floats = (values: readonly number[], shape: readonly number[] = [values.length]): StoredTensor => ({
  dtype: 'F32',
  shape,
  bytes: Buffer.from(Float32Array.from(values).buffer)
})
