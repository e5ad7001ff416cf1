import { type EncodedRow, partsOf } from '../data/collate.js'
import type { EncodedDataset } from './encoded.js'

/** Tokens of each row; of several windows or choices together. */
export async function rowLengths(data: EncodedDataset): Promise<Uint32Array> {
  const lengths = new Uint32Array(data.length)
  for (let i = 0; i < data.length; i++) {
    lengths[i] = rowTokens(data, i)
    // Tokenizing all rows at once must not hold up what else the thread has to do.
    if (i % 256 === 255) await data.pause()
  }
  return lengths
}

export function rowTokens(data: EncodedDataset, row: number): number {
  const parts = partsOf(data.at(row, data.headsOf(row)[0] as string))
  return parts.reduce((sum, part) => sum + tokensOf(part), 0)
}

/** All that a network computes for a row: of one with an encoder and a decoder the tokens of both. */
function tokensOf({ inputIds, sourceIds, image }: EncodedRow): number {
  return image?.tokens ?? inputIds.length + (sourceIds?.length ?? 0)
}

/** How many rows of average length have so many tokens. */
export function rowsWithin(tokens: number, lengths: Uint32Array): number {
  const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length
  return Math.max(1, Math.round(tokens / mean))
}
