/** Begins to make something now and gives it, or throws what went wrong, when it is asked for. */
export function prepared<T>(make: () => Promise<T>): () => Promise<T> {
  const made = make()
  // Whoever asks hears of it.
  made.catch(() => undefined)
  return () => made
}
