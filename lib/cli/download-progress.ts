import type { DownloadProgress } from '../exchange/hub-download.js'
import type { FolderKind } from '../exchange/hub-files.js'
import { megabyteBar, megabytes, shownFrom } from './megabyte-bar.js'

/** What comes from the hub meanwhile is shown on stderr: as a bar in a terminal, otherwise as a line for each file. */
export async function withDownloads<T>(
  work: (onProgress: (progress: DownloadProgress) => void) => Promise<T>
): Promise<T> {
  const bar = await megabyteBar()
  let told: string | undefined
  try {
    return await work(({ file, received, total }) => {
      bar.show(file, received, total)
      if (bar.isDrawn || total < shownFrom || file === told) return
      told = file
      process.stderr.write(`fetching ${file} (${megabytes(total)} MB)\n`)
    })
  } finally {
    bar.end()
  }
}

/** A folder, or what stands behind a hub id, whose download is shown. */
export async function folderOf(source: string, kind: FolderKind, offline: boolean | undefined): Promise<string> {
  const { resolveFolder } = await import('../exchange/hub.js')
  return await withDownloads((onProgress) => resolveFolder(source, kind, { offline, onProgress }))
}
