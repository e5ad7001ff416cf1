import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Every file of a checkpoint, from its folder on. */
export const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => statSync(join(folder, file)).isFile())

/** A file cut off at its ends, in the middle and around what is 8 bytes from the start, and with one bit of a byte turned. */
export function damagedBytes(whole: Buffer): Buffer[] {
  const last = whole.length - 1
  const inside = [0, 1, 7, 8, 9, whole.length >> 1, last].filter((place) => place <= last)
  const turned = (place: number) => {
    const bytes = Buffer.from(whole)
    bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place)
    return bytes
  }
  return [...inside.map((place) => whole.subarray(0, place)), ...inside.map(turned)]
}
