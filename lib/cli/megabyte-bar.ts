/** A bar of what has come of a download, on stderr where that is a terminal; elsewhere it draws nothing. */
export interface MegabyteBar {
  readonly isDrawn: boolean
  /** @param label stands in front of it; another one begins another bar. Bytes; below a megabyte nothing is drawn. */
  show(label: string, done: number, total: number): void
  end(): void
}

/** Below this a file is here before anybody would look. */
export const shownFrom = 1e6

export const megabytes = (bytes: number): number => Math.round(bytes / 1e6)

export async function megabyteBar(): Promise<MegabyteBar> {
  const stream = process.stderr
  const format = '  {label}[{bar}] {percentage} % | {done} of {all} MB'
  const bar = stream.isTTY
    ? new (await import('cli-progress')).SingleBar({ format, stream, hideCursor: true, barsize: 30 })
    : undefined
  let current: string | undefined
  const end = () => {
    if (current !== undefined) bar?.stop()
    current = undefined
  }
  return {
    isDrawn: bar !== undefined,
    end,
    show(label, done, total) {
      if (total < shownFrom) return
      const facts = { label: label && `${label} `, done: megabytes(done), all: megabytes(total) }
      if (label === current) return bar?.update(done, facts)
      end()
      current = label
      bar?.start(total, done, facts)
    }
  }
}
