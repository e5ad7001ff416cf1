/** The Castagnoli polynomial, its bits in the order in which they are divided. */
const polynomial = 0x82f63b78

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ polynomial : rest >>> 1
  return rest
})

/** CRC-32C (RFC 3720, appendix B.4). */
export function crc32c(data: Uint8Array): number {
  let rest = 0xffffffff
  for (const byte of data) rest = (rest >>> 8) ^ (table[(rest ^ byte) & 255] ?? 0)
  return ~rest >>> 0
}
