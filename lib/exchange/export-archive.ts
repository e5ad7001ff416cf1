import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/** Of a zip's directory, at its end; the entry that PyTorch writes last but for a few lies in it. */
const tail = 1 << 16

/** Whether a file is an archive of torch.export, whose `archive_format` stands beside its folders. */
export function isExportArchive(file: string): boolean {
  const handle = openSync(file, 'r')
  try {
    const { size } = fstatSync(handle)
    const first = Buffer.alloc(4)
    readSync(handle, first, 0, 4, 0)
    if (first.toString('latin1') !== 'PK\u0003\u0004') return false
    const end = Buffer.alloc(Math.min(size, tail))
    readSync(handle, end, 0, end.length, size - end.length)
    return end.includes('/archive_format')
  } finally {
    closeSync(handle)
  }
}
