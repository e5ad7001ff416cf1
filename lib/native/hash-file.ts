import { createHash, type Hash } from 'node:crypto'
import { open } from 'node:fs/promises'

/**
 * Adds a file to a hash and gives its digest as hexadecimal digits. Through one piece of memory: a stream's pieces would lie
 * about until they are collected, as much as the file has.
 */
export async function hashFile(file: string, hash: Hash): Promise<string> {
  const piece = Buffer.allocUnsafe(1 << 16)
  const handle = await open(file)
  try {
    for (;;) {
      const { bytesRead } = await handle.read(piece, 0, piece.length)
      if (bytesRead === 0) return hash.digest('hex')
      hash.update(piece.subarray(0, bytesRead))
    }
  } finally {
    await handle.close()
  }
}

export const sha256Of = (file: string): Promise<string> => hashFile(file, createHash('sha256'))
