import * as check from '../config/check.js'
import {
  adapterNames,
  type Composition,
  formatComposition,
  lastAdapter,
  lastAdapters,
  parseComposition
} from '../config/composition.js'
import { type HeadSetup, headOfEach } from '../config/head-setup.js'
import { scopedSetup } from './adapter-setup.js'
import { type HeadRule, headOfRow } from './head-rule.js'
import { checkKnown, type Names } from './setup.js'

/** Which of a model's heads is active, and whether that was said or came about. */
export class HeadChoice {
  readonly #heads: Names
  #name: string | null = null
  #byHand = false
  /** Chosen child by child: the block, and what it gives each last adapter. */
  #given: GivenHeads | null = null
  #standsIn = false

  constructor(heads: Names) {
    this.#heads = heads
  }

  /** Inside adapterSetup the head of its last adapter. */
  get name(): string | null {
    const { chosen, given, otherwise } = this.rule
    if (chosen !== undefined) return chosen
    const last = lastAdapter(scopedSetup()?.setup ?? null) ?? ''
    return given?.get(last) ?? (this.#heads.has(last) ? last : otherwise)
  }

  /** What calls take that name no head. */
  get rule(): HeadRule {
    const scoped = this.#scoped()
    if (scoped !== undefined) return scoped
    if (!this.#byHand || scopedSetup() !== undefined) return { chosen: undefined, otherwise: this.#name }
    if (this.#given !== null) return { chosen: undefined, given: this.#given.ofEach, otherwise: this.#name }
    return { chosen: this.#name, otherwise: this.#name }
  }

  /** The same for calls that name adapters: these bring their heads. */
  get rowRule(): HeadRule {
    const scoped = this.#scoped()
    return { chosen: scoped?.chosen, otherwise: scoped === undefined ? this.#name : null }
  }

  /** What adapterSetup around a call says; undefined where it names no head. */
  #scoped(): HeadRule | undefined {
    const { setup = null, head } = scopedSetup() ?? {}
    if (head === undefined) return undefined
    const heads = checkHeads(head, this.#heads, 'adapterSetup: head')
    if (heads === null || typeof heads === 'string') return { chosen: heads, otherwise: null }
    return { chosen: undefined, given: givenHeads(heads, setup).ofEach, otherwise: null }
  }

  /** Every head that may answer a row under a setup. */
  possible(setup: Composition): readonly string[] {
    const names = lastAdapters(setup).map((last) => headOfRow(this.rule, this.#heads, last))
    return [...new Set(names)].filter((name) => name !== null)
  }

  set(name: string | null): void {
    this.#name = name === null ? null : checkKnown('activeHead', name, this.#heads)
    this.#given = null
    this.#byHand = true
    this.#standsIn = false
  }

  /** The head of a setup, or those of the children of its block. */
  choose(head: string | null | GivenHeads, setup: Composition): void {
    const isOne = head === null || typeof head === 'string'
    this.set(isOne ? head : (head.ofEach.get(lastAdapter(setup) ?? '') ?? null))
    if (!isOne) this.#given = head
  }

  /** Adapters were activated: if one of them has a head, heads follow rows again. */
  follow(setup: Composition): void {
    if (lastAdapters(setup).some((name) => name !== null && this.#heads.has(name))) {
      this.#byHand = false
      this.#given = null
    }
    const last = lastAdapter(setup) ?? ''
    this.#name = this.#given?.ofEach.get(last) ?? (this.#heads.has(last) ? last : this.#name)
  }

  /** @returns whether it is the first head, which is now active */
  added(name: string): boolean {
    if (this.#name !== null && !this.#standsIn) return false
    this.#standsIn = false
    this.#name = name
    return true
  }

  /** The head that came with the model's class answers until another is added or chosen. */
  standIn(): void {
    this.#standsIn = true
  }

  /** What a file keeps as active: nothing where nobody chose it. */
  get kept(): HeadSetup {
    return this.#standsIn ? null : (this.#given?.heads ?? this.name)
  }

  /** Whether each row's head is that of its adapter, as it came about when these were activated. */
  follows(setup: Composition): boolean {
    const last = lastAdapter(setup)
    return !this.#byHand && last !== null && this.#name === last
  }

  /** @returns what goes back to the choice of now, for a head that came and went */
  keep(): () => void {
    const [name, byHand, given, standsIn] = [this.#name, this.#byHand, this.#given, this.#standsIn]
    return () => {
      if (name !== null && !this.#heads.has(name)) return
      this.#name = name
      this.#given = given
      this.#byHand = byHand
      this.#standsIn = standsIn
    }
  }

  deleted(name: string): void {
    const wasGiven = this.#given !== null && adapterNames(this.#given.heads).includes(name)
    if (this.#name !== name && !wasGiven) return
    this.#name = null
    this.#given = null
    this.#byHand = false
  }
}

/** Heads of a setup child by child, and which of them each last adapter has. */
export interface GivenHeads {
  readonly heads: HeadSetup
  readonly ofEach: ReadonlyMap<string, string>
}

/** A name, or a block of names, one for every child; all of them must be there. */
export function checkHeads(given: HeadSetup, known: Names, argument = 'head'): HeadSetup {
  if (given === null) return null
  if (typeof given === 'string') return checkKnown(argument, given, known)
  const block = parseComposition(given, argument)
  for (const name of adapterNames(block)) checkKnown(argument, name, known)
  if (lastAdapters(block).includes(null)) throw check.valueError(argument, 'a block of heads names one for every child')
  return block
}

/** What a block of heads gives the adapters of a setup; an error where it is not for such a setup. */
export function givenHeads(heads: HeadSetup, setup: Composition): GivenHeads {
  const ofEach = headOfEach(heads, setup)
  if (ofEach !== null) return { heads, ofEach }
  const message = `${formatComposition(heads)} does not fit ${formatComposition(setup)}`
  const last = setup === null || typeof setup === 'string' ? [] : setup.children.flatMap(lastAdapters)
  const twice = last.find((name, i) => last.indexOf(name) !== i)
  const why = last.includes(null)
    ? '; a child that is null has no adapter to have a head of its own for'
    : twice === undefined
      ? ''
      : `; '${twice}' is the last adapter of two children, and has one head`
  throw check.valueError(
    'head',
    `${message}: expected one name, or the setup's own block with a head for each last adapter${why}`
  )
}
