/** Makes something now and gives it, or throws what went wrong, when it is asked for. */
export function prepared<T>(make: () => T): () => T {
  try {
    const made = make()
    return () => made
  } catch (error) {
    return () => {
      throw error
    }
  }
}
