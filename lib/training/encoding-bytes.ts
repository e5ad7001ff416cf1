import type { EncodedDataset } from './encoded.js'

/** Rows looked at; a collection of garbage among them spoils one of them. */
const sampled = 64

/**
 * What JavaScript takes, most of it garbage, while so many of the rows are made into numbers for the first time: much for
 * text, little for ids. Measured on some of them, spread over all.
 */
export function encodingBytes(data: EncodedDataset, rows: number): number {
  const count = Math.min(data.length, sampled)
  let bytes = 0
  for (let i = 0; i < count; i++) {
    const index = Math.floor((i * data.length) / count)
    const before = process.memoryUsage().heapUsed
    data.encode(index, data.headsOf(index)[0] as string)
    bytes += Math.max(0, process.memoryUsage().heapUsed - before)
  }
  return count === 0 ? 0 : (bytes / count) * Math.min(rows, data.length)
}
