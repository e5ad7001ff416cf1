import { type Composition, lastAdapter, lastAdapters } from '../config/composition.js'
import { scopedHead, scopedSetup } from './adapter-setup.js'
import { type HeadRule, headOfRow } from './head-rule.js'
import { checkKnown, type Names } from './setup.js'

/** Which of a model's heads is active, and whether that was said or came about. */
export class HeadChoice {
  readonly #heads: Names
  #name: string | null = null
  #byHand = false
  #standsIn = false

  constructor(heads: Names) {
    this.#heads = heads
  }

  /** Inside adapterSetup the head of its last adapter. */
  get name(): string | null {
    const { chosen, otherwise } = this.rule
    if (chosen !== undefined) return chosen
    const last = lastAdapter(scopedSetup()?.setup ?? null)
    return last !== null && this.#heads.has(last) ? last : otherwise
  }

  /** What calls take that name no head. */
  get rule(): HeadRule {
    const scoped = scopedHead(this.#heads)
    if (scoped !== undefined) return { chosen: scoped, otherwise: null }
    return { chosen: this.#byHand && scopedSetup() === undefined ? this.#name : undefined, otherwise: this.#name }
  }

  /** The same for calls that name adapters: these bring their heads. */
  get rowRule(): HeadRule {
    const scoped = scopedHead(this.#heads)
    return { chosen: scoped, otherwise: scoped === undefined ? this.#name : null }
  }

  /** Every head that may answer a row under a setup. */
  possible(setup: Composition): readonly string[] {
    const names = lastAdapters(setup).map((last) => headOfRow(this.rule, this.#heads, last))
    return [...new Set(names)].filter((name) => name !== null)
  }

  set(name: string | null): void {
    this.#name = name === null ? null : checkKnown('activeHead', name, this.#heads)
    this.#byHand = true
    this.#standsIn = false
  }

  /** Adapters were activated: if one of them has a head, heads follow rows again. */
  follow(setup: Composition): void {
    if (lastAdapters(setup).some((name) => name !== null && this.#heads.has(name))) this.#byHand = false
    const last = lastAdapter(setup)
    if (last !== null && this.#heads.has(last)) this.#name = last
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
  get kept(): string | null {
    return this.#standsIn ? null : this.name
  }

  /** Whether each row's head is that of its adapter, as it came about when these were activated. */
  follows(setup: Composition): boolean {
    const last = lastAdapter(setup)
    return !this.#byHand && last !== null && this.#name === last
  }

  /** @returns what goes back to the choice of now, for a head that came and went */
  keep(): () => void {
    const [name, byHand, standsIn] = [this.#name, this.#byHand, this.#standsIn]
    return () => {
      if (name !== null && !this.#heads.has(name)) return
      this.#name = name
      this.#byHand = byHand
      this.#standsIn = standsIn
    }
  }

  deleted(name: string): void {
    if (this.#name !== name) return
    this.#name = null
    this.#byHand = false
  }
}
