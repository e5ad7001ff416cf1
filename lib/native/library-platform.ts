import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

const elf: Readonly<Record<number, string>> = { 62: 'linux-x64', 183: 'linux-arm64' }
const machO: Readonly<Record<number, string>> = { 16777223: 'darwin-x64', 16777228: 'darwin-arm64' }
const windows: Readonly<Record<number, string>> = { 34404: 'win32-x64', 43620: 'win32-arm64' }

/**
 * What a shared library was built for, as `linux-x64`, by its first bytes: the system would only say that it cannot be
 * opened. Undefined where it is none of these, such as a library for several processors.
 */
export function libraryPlatform(file: string): string | undefined {
  const { head } = startOf(file)
  if (isElf(head)) return elf[head.readUInt16LE(18)]
  if (head.readUInt32LE(0) === 0xfeedfacf) return machO[head.readUInt32LE(4)]
  const header = head.readUInt32LE(60)
  if (head.toString('latin1', 0, 2) !== 'MZ' || header > head.length - 6) return undefined
  return windows[head.readUInt16LE(header + 4)]
}

/**
 * Whether the end of a Linux library is missing, as where a disk was full: the system opens such a one and kills the process
 * when it comes to what is not there. The table of its sections is last.
 */
export function isCutOff(file: string): boolean {
  const { head, size } = startOf(file)
  const is64 = head[4] === 2
  if (!isElf(head) || !is64) return false
  const sections = Number(head.readBigUInt64LE(40)) + head.readUInt16LE(58) * head.readUInt16LE(60)
  return size < sections
}

const isElf = (head: Buffer): boolean => head.readUInt32BE(0) === 0x7f454c46

function startOf(file: string): { readonly head: Buffer; readonly size: number } {
  const head = Buffer.alloc(1024)
  const descriptor = openSync(file, 'r')
  try {
    readSync(descriptor, head, 0, head.length, 0)
    return { head, size: fstatSync(descriptor).size }
  } finally {
    closeSync(descriptor)
  }
}
