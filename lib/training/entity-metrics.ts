import { f1, share } from './counts.js'

/** A tag of a scheme of chunks: where in a chunk a token stands, and of what kind the chunk is. */
interface Tag {
  readonly place: 'B' | 'I' | 'E' | 'S' | 'O'
  readonly kind: string
}

const outside: Tag = { place: 'O', kind: '' }

/**
 * Label names such as O, B-PER, I-PER (BIO, IOB1, IOB2), with E- and S- as well (IOBES): undefined where they are others. O, B
 * and I alone are those of chunks of one kind.
 */
export function chunkTags(labels: readonly string[]): readonly Tag[] | undefined {
  // Other names of one letter are no tags.
  const isOneKind = ['O', 'B', 'I'].every((label) => labels.includes(label))
  const tags = labels.map((label): Tag | undefined => {
    if (label === 'O') return outside
    const [, place, kind = isOneKind ? '' : undefined] = /^([BIES])(?:-(.+))?$/.exec(label) ?? []
    return place === undefined || kind === undefined ? undefined : { place: place as Tag['place'], kind }
  })
  const all = tags.filter((tag) => tag !== undefined)
  return all.length === labels.length && all.some(({ place }) => place !== 'O') ? all : undefined
}

/** A chunk ends before this tag. */
const ends = (before: Tag, tag: Tag): boolean =>
  before.place !== 'O' && ('ES'.includes(before.place) || 'BSO'.includes(tag.place) || before.kind !== tag.kind)

/** A chunk begins with this tag: with an I, too, where none of its kind is open. */
const begins = (before: Tag, tag: Tag): boolean =>
  tag.place !== 'O' && ('BS'.includes(tag.place) || 'ESO'.includes(before.place) || before.kind !== tag.kind)

/** The chunks of one row, each as `kind:first:last`, by the rules of CoNLL-2000's conlleval, which are seqeval's default. */
export function chunksOf(tags: readonly Tag[]): Set<string> {
  const chunks = new Set<string>()
  let start = 0
  let before = outside
  for (const [i, tag] of [...tags, outside].entries()) {
    if (ends(before, tag)) chunks.add(`${before.kind}:${start}:${i - 1}`)
    if (begins(before, tag)) start = i
    before = tag
  }
  return chunks
}

/** Whole entities, right in their kind and both of their ends: micro averages over all kinds. */
export class EntityCounter {
  #labelled = 0
  #predicted = 0
  #hits = 0

  /** One row: its labelled tokens' tags, and those that were answered. */
  add(labelled: readonly Tag[], predicted: readonly Tag[]): void {
    const [right, found] = [chunksOf(labelled), chunksOf(predicted)]
    this.#labelled += right.size
    this.#predicted += found.size
    for (const chunk of found) this.#hits += Number(right.has(chunk))
  }

  result(): { entityPrecision: number; entityRecall: number; entityF1: number } {
    return {
      entityPrecision: share(this.#hits, this.#predicted),
      entityRecall: share(this.#hits, this.#labelled),
      entityF1: f1(this.#hits, this.#labelled, this.#predicted)
    }
  }
}
