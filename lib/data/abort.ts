/**
 * Gives what the work gives, or as soon as the signal is aborted what stands for that; the work is then not waited for, and
 * what it throws, such as the signal's reason, is nobody's.
 */
export async function unlessAborted<T>(
  work: T | PromiseLike<T>,
  signal: AbortSignal | undefined,
  instead: (signal: AbortSignal) => T = (aborted) => {
    throw aborted.reason
  }
): Promise<T> {
  if (signal === undefined || !(work instanceof Promise)) return await work
  let stop = (): void => undefined
  const aborted = new Promise<true>((resolve) => {
    stop = () => resolve(true)
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
  try {
    const given = work.then(
      (value: T) => ({ value }),
      (error: unknown) => {
        if (signal.aborted) return true as const
        throw error
      }
    )
    const done = await Promise.race([given, aborted])
    return done === true ? instead(signal) : done.value
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** The same of each value that comes; a source that never gives the next one is let go of, too. */
export async function* eachUnlessAborted<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal
): AsyncGenerator<T, void, undefined> {
  const values = source[Symbol.asyncIterator]()
  let isWaiting = false
  try {
    for (;;) {
      isWaiting = true
      const { done, value } = await unlessAborted(values.next(), signal)
      if (done === true) return
      isWaiting = false
      yield value
    }
  } finally {
    // One that ended or threw has nothing to let go of; one that waits for its source is not waited for.
    if (signal.aborted) void Promise.resolve(values.return?.()).catch(() => undefined)
    else if (!isWaiting) await values.return?.()
  }
}
