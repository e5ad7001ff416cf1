import { valueError } from './check.js'
import { Average, type Composition, type CompositionBlock, Fuse, MultiTask, Parallel, Stack } from './composition.js'
import { didYouMean } from './nearest.js'

/** Blocks that need nothing but their children; the sizes of the others are for JSON. */
const blocks: Readonly<Record<string, (...children: Composition[]) => CompositionBlock>> = {
  ...{ Stack, Fuse, Parallel, Average, MultiTask }
}

/** `Stack[a, Fuse[b, c]]`, as formatComposition writes it; null is the base model's own value. */
export function compositionFromText(text: string): Composition {
  // A name is whatever stands between the signs.
  const parts =
    text
      .match(/[[\],]|[^[\],]+/g)
      ?.map((part) => part.trim())
      .filter((part) => part !== '') ?? []
  const reader = new Reader(text, parts)
  const composition = reader.composition()
  reader.end()
  return composition
}

class Reader {
  #at = 0

  constructor(
    private readonly text: string,
    private readonly parts: readonly string[]
  ) {}

  composition(): Composition {
    const name = this.#next()
    if (name === undefined || '[],'.includes(name)) throw this.#wrong("an adapter's name or a block", name)
    if (this.parts[this.#at] !== '[') return name === 'null' ? null : name
    this.#at++
    const children = [this.composition()]
    for (let sign = this.#next(); sign !== ']'; sign = this.#next()) {
      if (sign !== ',') throw this.#wrong("',' or ']'", sign)
      children.push(this.composition())
    }
    return this.#block(name)(...children)
  }

  end(): void {
    if (this.#at < this.parts.length) throw this.#wrong('its end', this.parts[this.#at])
  }

  #block(name: string): (...children: Composition[]) => CompositionBlock {
    const block = Object.hasOwn(blocks, name) ? blocks[name] : undefined
    if (block !== undefined) return block
    const known = Object.keys(blocks)
    throw valueError(this.text, `no block '${name}' of ${known.join(', ')}.${didYouMean(name, known)}`)
  }

  #next(): string | undefined {
    return this.parts[this.#at++]
  }

  #wrong(expected: string, got: string | undefined): Error {
    return valueError(this.text, `expected ${expected}, got ${got === undefined ? 'its end' : `'${got}'`}`)
  }
}
