/** Where each row of a file begins, and in which line: 12 bytes a row. */
export class RowPlaces {
  #starts = new Float64Array(1024)
  #lines = new Uint32Array(1024)
  #count = 0
  #end = 0

  get length(): number {
    return this.#count
  }

  /** @param start bytes before it; it ends where the next one begins */
  add(start: number, line: number): void {
    if (this.#count === this.#starts.length) {
      this.#starts = grown(this.#starts, new Float64Array(2 * this.#count))
      this.#lines = grown(this.#lines, new Uint32Array(2 * this.#count))
    }
    this.#starts[this.#count] = start
    this.#lines[this.#count] = line
    this.#count++
  }

  /** @param end bytes of all */
  finish(end: number): void {
    this.#end = end
    this.#starts = this.#starts.slice(0, this.#count)
    this.#lines = this.#lines.slice(0, this.#count)
  }

  at(row: number): { readonly start: number; readonly end: number; readonly line: number } {
    const end = row + 1 < this.#count ? (this.#starts[row + 1] ?? 0) : this.#end
    return { start: this.#starts[row] ?? 0, end, line: this.#lines[row] ?? 0 }
  }
}

function grown<T extends Float64Array | Uint32Array>(values: T, into: T): T {
  into.set(values)
  return into
}
