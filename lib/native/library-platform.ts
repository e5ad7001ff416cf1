import { closeSync, openSync, readSync } from 'node:fs'

const elf: Readonly<Record<number, string>> = { 62: 'linux-x64', 183: 'linux-arm64' }
const machO: Readonly<Record<number, string>> = { 16777223: 'darwin-x64', 16777228: 'darwin-arm64' }
const windows: Readonly<Record<number, string>> = { 34404: 'win32-x64', 43620: 'win32-arm64' }

/**
 * What a shared library was built for, as `linux-x64`, by its first bytes: the system would only say that it cannot be
 * opened. Undefined where it is none of these, such as a library for several processors.
 */
export function libraryPlatform(file: string): string | undefined {
  const head = Buffer.alloc(1024)
  const descriptor = openSync(file, 'r')
  try {
    readSync(descriptor, head, 0, head.length, 0)
  } finally {
    closeSync(descriptor)
  }
  if (head.readUInt32BE(0) === 0x7f454c46) return elf[head.readUInt16LE(18)]
  if (head.readUInt32LE(0) === 0xfeedfacf) return machO[head.readUInt32LE(4)]
  const header = head.readUInt32LE(60)
  if (head.toString('latin1', 0, 2) !== 'MZ' || header > head.length - 6) return undefined
  return windows[head.readUInt16LE(header + 4)]
}
