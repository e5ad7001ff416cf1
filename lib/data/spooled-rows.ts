import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deserialize, serialize } from 'node:v8'
import { fileError } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'
import { parquetRecords } from './parquet.js'
import type { RowPlaces } from './row-places.js'

/*
 * A row of a Parquet file lies in pieces: each column of a group of rows, often a hundred thousand of them, is compressed
 * alone, so that to read one row is to unpack its group. In the order of a shuffled epoch that would be once for every row.
 * Instead the file is unpacked once, a piece of a group at a time, into a file of its own from which single rows are read,
 * as Node's structured clones, which keep every value as it was, numbers that JSON does not have among them. Nobody else
 * sees that file: where the system allows it, it has lost its name before the first row is in it, and is gone when it is
 * closed, however the process ends.
 */

/** Bytes that are written at once. */
const blockSize = 1 << 20

/** Unpacks the rows, says where each lies, and gives the open file. */
export async function spoolParquet(file: string, operation: string, places: RowPlaces): Promise<number> {
  const fd = openNameless(operation)
  try {
    let [block, size, offset]: [Uint8Array[], number, number] = [[], 0, 0]
    const flush = () => {
      writeAll(fd, Buffer.concat(block), file, operation)
      block = []
      size = 0
    }
    for await (const { value, row } of parquetRecords(file, operation)) {
      const bytes = serialize(value)
      places.add(offset, row)
      block.push(bytes)
      offset += bytes.length
      size += bytes.length
      if (size >= blockSize) flush()
    }
    flush()
    places.finish(offset)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** What was spooled. */
export const spooledValue = (bytes: Uint8Array): unknown => deserialize(bytes)

function openNameless(operation: string): number {
  let folder = tmpdir()
  try {
    folder = mkdtempSync(join(folder, 'torch-adapters-rows-'))
    const fd = openSync(join(folder, 'rows'), 'wx+', 0o600)
    rmSync(folder, { recursive: true, force: true })
    return fd
  } catch (error) {
    throw fileError(folder, operation, error)
  }
}

function writeAll(fd: number, bytes: Buffer, file: string, operation: string): void {
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done)
  } catch (cause) {
    const message = `${file} cannot be unpacked into ${tmpdir()}: ${(cause as Error).message}`
    const hint = 'Make room there, or let TMPDIR name another folder.'
    throw new AdapterError('ERR_DISK', operation, message, { hint, cause })
  }
}
