import { readFileSync, writeFileSync } from 'node:fs'
import { crc32 } from 'node:zlib'

/** Writes an archive with other text in it, of as many bytes, and with the checksums of that. */
export function changeArchive(archive: string, file: string, change: (text: string) => string) {
  const changed = Buffer.from(change(readFileSync(archive).toString('latin1')), 'latin1')
  // The sizes stay: only checksums differ, in each entry's own header and in the directory.
  for (
    let at = changed.indexOf('PK\x01\x02', 0, 'latin1');
    at >= 0;
    at = changed.indexOf('PK\x01\x02', at + 4, 'latin1')
  ) {
    const [size, name, start] = [
      changed.readUInt32LE(at + 20),
      changed.readUInt16LE(at + 28),
      changed.readUInt32LE(at + 42)
    ]
    const body = start + 30 + changed.readUInt16LE(start + 26) + changed.readUInt16LE(start + 28)
    if (name === 0 || body + size > at) continue
    const sum = crc32(changed.subarray(body, body + size))
    changed.writeUInt32LE(sum, at + 16)
    changed.writeUInt32LE(sum, start + 14)
  }
  writeFileSync(file, changed)
}
