import type { DownloadProgress } from '../exchange/hub-download.js'
import type { FolderKind } from '../exchange/hub-files.js'

/** Below this a file is here before anybody would look. */
const shownFrom = 1e6

const megabytes = (bytes: number): number => Math.round(bytes / 1e6)

/** What comes from the hub meanwhile is shown on stderr: as a bar in a terminal, otherwise as a line for each file. */
export async function withDownloads<T>(
  work: (onProgress: (progress: DownloadProgress) => void) => Promise<T>
): Promise<T> {
  const format = '  {file} [{bar}] {percentage} % | {done} of {all} MB'
  const bar = process.stderr.isTTY
    ? new (await import('cli-progress')).SingleBar({ format, stream: process.stderr, hideCursor: true, barsize: 30 })
    : undefined
  let current: string | undefined
  const end = () => {
    if (current !== undefined) bar?.stop()
    current = undefined
  }
  try {
    return await work(({ file, received, total }) => {
      if (total < shownFrom) return
      const facts = { file, done: megabytes(received), all: megabytes(total) }
      if (file === current) return bar?.update(received, facts)
      end()
      current = file
      if (bar === undefined) process.stderr.write(`fetching ${file} (${facts.all} MB)\n`)
      else bar.start(total, received, facts)
    })
  } finally {
    end()
  }
}

/** A folder, or what stands behind a hub id, whose download is shown. */
export async function folderOf(source: string, kind: FolderKind, offline: boolean | undefined): Promise<string> {
  const { resolveFolder } = await import('../exchange/hub.js')
  return await withDownloads((onProgress) => resolveFolder(source, kind, { offline, onProgress }))
}
