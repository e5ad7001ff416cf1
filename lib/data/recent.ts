/** The values that were made last, a bounded number of them. */
export class Recent<K, V extends NonNullable<unknown> | null> {
  readonly #values = new Map<K, V>()
  #capacity: number

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** Keeps at least so many from now on. */
  makeRoomFor(count: number): void {
    this.#capacity = Math.max(this.#capacity, count)
  }

  /** What is kept under the key, or else what `make` gives, which then is. */
  take(key: K, make: () => V): V {
    const known = this.#values.get(key)
    if (known !== undefined) return known
    const value = make()
    this.#values.set(key, value)
    if (this.#values.size > this.#capacity) this.#values.delete(this.#values.keys().next().value as K)
    return value
  }
}
