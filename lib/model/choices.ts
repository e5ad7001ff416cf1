import * as check from '../config/check.js'
import { adapterNames, fuseBlocks, fusionName, parseComposition } from '../config/composition.js'
import { nativeCall } from '../native/errors.js'
import type { NativeTrainable } from '../native/types.js'
import { outsideScope, scopedSetup } from './adapter-setup.js'
import { asFuse } from './fusions.js'
import { checkHeads, givenHeads } from './head-choice.js'
import { ModelLife } from './life.js'
import type { Model } from './model.js'
import { type ActiveOptions, checkOptions } from './options.js'
import { withoutAdapter } from './reduced-setup.js'
import { type AdapterSetup, checkKnown, setupNames, unchanging } from './setup.js'
import { checkLayerList } from './skip-layers.js'
import { type ModelSummary, summarize } from './summary.js'
import { checkUnmerged, frozenDecoderBiases, renamedTrainable, trainableUnless } from './trainable.js'

const nothing: NativeTrainable = { adapters: [], heads: [], base: [], frozen: [], fusions: [], inserted: false }

/** Parts that were named to train. */
export interface ChosenToTrain extends Pick<NativeTrainable, 'adapters' | 'fusions' | 'heads'> {
  /** Also those that were deleted since. */
  readonly named: readonly string[]
}

type ChosenBy = 'setup' | 'head' | 'all' | 'parameters'

/** What of a model runs where a call names nothing, and what of it trains. */
export abstract class ModelChoices extends ModelLife {
  #active: AdapterSetup = null
  /** What was active as an adapter was merged, and what is left of it; undefined where somebody chose since. */
  #merge: { readonly before: AdapterSetup; readonly left: AdapterSetup } | undefined
  #skipped: readonly number[] = []
  #trains: NativeTrainable = nothing
  #chosenBy: ChosenBy = 'parameters'
  /** The adapters and fusions, or the head, that were to train. */
  #named: readonly string[] = []

  get #model(): Model {
    return this as unknown as Model
  }

  // ---- what runs ----

  /**
   * Which adapters run where a call names none, and in which layers they do not. Also makes the head of the last one the
   * active head, if it has one.
   */
  setActiveAdapters(setup: AdapterSetup, options: ActiveOptions = {}): void {
    this.configurable('setActiveAdapters')
    outsideScope('setActiveAdapters')
    checkOptions(options, ['skipLayers', 'head'])
    const skipped = checkLayerList('skipLayers', options.skipLayers ?? [], this.#model)
    setupNames(setup, this.#model.known, 'setActiveAdapters')
    const head = options.head === undefined ? undefined : checkHeads(options.head, this.#model.heads)
    const given = head === undefined || head === null || typeof head === 'string' ? head : givenHeads(head, setup)
    this.#active = unchanging(setup)
    this.#merge = undefined
    this.#skipped = skipped
    this.#model.headChoice.follow(setup)
    if (given !== undefined) this.#model.headChoice.choose(given, setup)
    this.answeringHeadsTrain()
  }

  /** Inside adapterSetup those of the scope. */
  get activeAdapters(): AdapterSetup {
    const scope = scopedSetup()
    return scope === undefined ? this.#active : scope.setup
  }

  /** The layers in which the active adapters do not run. */
  get skippedLayers(): readonly number[] {
    return scopedSetup()?.skipLayers ?? this.#skipped
  }

  /**
   * The head that answers, by one rule in every call. A call's own `head` comes first (or that of the adapterSetup around
   * it). Then, unless the call names adapters, the head that was set here, until an adapter with a head is activated. Then
   * each row's own, which has the name of its last adapter, and for rows without one the head that stands here. Null: none.
   * Set to a head that is not there it throws a TypeError.
   */
  get activeHead(): string | null {
    return this.#model.headChoice.name
  }

  set activeHead(name: string | null) {
    this.configurable('activeHead')
    outsideScope('activeHead')
    this.#model.headChoice.set(name)
    this.answeringHeadsTrain()
  }

  // ---- what trains ----

  /** Activates the setup and trains its adapters with the active head; everything else is frozen. */
  trainAdapter(setup: Exclude<AdapterSetup, null>): void {
    this.configurable('trainAdapter')
    const adapters = setupNames(setup, this.#model.known, 'trainAdapter')
    if (adapters.length === 0) {
      throw check.valueError('trainAdapter', 'expected a setup with an adapter; trainHead trains a head alone')
    }
    checkUnmerged('trainAdapter', adapters, this.mergedAdapter)
    this.setActiveAdapters(setup)
    this.#setTrainable({ ...nothing, adapters, heads: this.#answeringHeads() }, 'setup', adapters)
  }

  /**
   * Activates the setup and trains its fusions with the active head; the adapters that they read are frozen.
   * @param fusion a setup with a Fuse block, or names of adapters that one fuses
   * @param options unfreezeAdapters: train them, too. Default false.
   */
  trainAdapterFusion(
    fusion: Exclude<AdapterSetup, null> | readonly string[],
    options: { readonly unfreezeAdapters?: boolean | undefined } = {}
  ): void {
    this.configurable('trainAdapterFusion')
    checkOptions(options, ['unfreezeAdapters'])
    const setup = Array.isArray(fusion) ? asFuse('trainAdapterFusion', fusion) : (fusion as Exclude<AdapterSetup, null>)
    const names = setupNames(setup, this.#model.known, 'trainAdapterFusion')
    checkUnmerged('trainAdapterFusion', names, this.mergedAdapter)
    const fusions = fuseBlocks(parseComposition(setup)).map(fusionName)
    if (fusions.length === 0) {
      throw check.valueError('trainAdapterFusion', "expected a setup with a Fuse block, such as Fuse('a', 'b')")
    }
    this.setActiveAdapters(setup)
    const adapters = options.unfreezeAdapters ? names : []
    const what = { ...nothing, adapters, fusions, heads: this.#answeringHeads() }
    this.#setTrainable(what, 'setup', [...adapters, ...fusions])
  }

  /**
   * Trains a head alone, on the features of the base model and the active adapters; it becomes the active head. Everything else
   * is frozen. A head that is not there is a TypeError.
   */
  trainHead(name: string): void {
    this.configurable('trainHead')
    this.activeHead = checkKnown('trainHead', name, this.#model.heads)
    this.#setTrainable({ ...nothing, heads: [name] }, 'head', [name])
  }

  /** Full fine-tuning: the base model, the active adapters and the active head. */
  trainAll(): void {
    this.configurable('trainAll')
    const adapters = setupNames(this.#active, this.#model.known)
    const fusions = fuseBlocks(this.#active).map(fusionName)
    const heads = this.#answeringHeads()
    this.#setTrainable({ ...nothing, adapters, fusions, heads, inserted: true, base: this.baseNames() }, 'all')
  }

  /**
   * Freezes the parameters that the predicate names, each by itself, and lets all others train. What is frozen has no
   * gradient and keeps every bit, under weight decay too.
   */
  override freeze(isFrozen: (name: string) => boolean): void {
    this.configurable('freeze')
    if (typeof isFrozen !== 'function') throw check.typeError('freeze', 'a function of a parameter’s name', isFrozen)
    const what = trainableUnless(isFrozen, this.namedParameters(), {
      adapters: [...this.#model.adapters.keys()],
      fusions: [...this.#model.adapterFusions.keys()],
      heads: [...this.#model.heads.keys()]
    })
    this.#setTrainable(what, 'parameters')
  }

  adapterSummary(): ModelSummary {
    const active = setupNames(this.#active, this.#model.known)
    return summarize(this.namedParameters(), this.#model.adapters, new Set(active), new Set(this.#trains.adapters))
  }

  /** @internal What trainAdapter, trainAdapterFusion or trainHead chose. */
  get chosenToTrain(): ChosenToTrain {
    const { adapters, fusions, heads } = this.#named.length > 0 ? this.#trains : nothing
    return { named: this.#named, adapters, fusions, heads: this.#chosenBy === 'head' ? heads : [] }
  }

  /** @internal Goes back to the heads that answer now, for one that came and went. */
  keepHeadChoice(): () => void {
    const back = this.#model.headChoice.keep()
    return () => {
      back()
      this.answeringHeadsTrain()
    }
  }

  /** @internal Goes back to what trains now, for parts that came and went. */
  keepTrainable(): () => void {
    const [trains, by, named] = [this.#trains, this.#chosenBy, this.#named]
    return () => this.#setTrainable(trains, by, named)
  }

  // ---- when parts come and go ----

  /** After it has gone. */
  protected deletedAdapter(name: string): void {
    if (adapterNames(this.#active).includes(name)) this.#active = withoutAdapter(this.#active, name)
    this.#trains = { ...this.#trains, adapters: without(this.#trains.adapters, name) }
    this.answeringHeadsTrain()
  }

  protected deletedFusion(name: string): void {
    if (fuseBlocks(this.#active).some((fuse) => fusionName(fuse) === name)) this.#active = null
    this.#trains = { ...this.#trains, fusions: without(this.#trains.fusions, name) }
    this.answeringHeadsTrain()
  }

  protected deletedHead(name: string): void {
    this.#model.headChoice.deleted(name)
    this.#trains = { ...this.#trains, heads: without(this.#trains.heads, name) }
    this.answeringHeadsTrain()
  }

  /** What took the place of a part, under its name, trains where that one did. */
  protected replacedTrains(): void {
    this.#setTrainable(this.#trains, this.#chosenBy, this.#named)
  }

  /** @internal What trains in a call that other heads answer than those that train; undefined: what trains anyway. */
  trainsWith(
    heads: readonly string[]
  ): { readonly meanwhile: NativeTrainable; readonly afterwards: NativeTrainable } | undefined {
    if (!this.#trainsThroughAnyHead || heads.every((head) => this.#trains.heads.includes(head))) return undefined
    return { meanwhile: this.#through({ ...this.#trains, heads }, this.#chosenBy), afterwards: this.#trains }
  }

  #setTrainable(chosen: NativeTrainable, by: ChosenBy, named: readonly string[] = []): void {
    const what = this.#through(chosen, by)
    nativeCall(() => this.#model.native.setTrainable(what))
    this.#trains = what
    this.#chosenBy = by
    this.#named = named
  }

  /** With what of its heads stands still all the same. */
  #through(chosen: NativeTrainable, by: ChosenBy): NativeTrainable {
    return by === 'setup' ? { ...chosen, frozen: frozenDecoderBiases(chosen.heads, this.#model.heads) } : chosen
  }

  /** Heads that were chosen by name are the caller's affair. */
  get #trainsThroughAnyHead(): boolean {
    return this.#chosenBy === 'setup' || this.#chosenBy === 'all'
  }

  /**
   * What was chosen learns through the heads that answer, also where these change afterwards: they must not stay as they
   * started.
   */
  protected answeringHeadsTrain(): void {
    if (!this.#trainsThroughAnyHead) return
    const heads = this.#answeringHeads()
    const had = this.#trains.heads
    if (heads.length === had.length && heads.every((name, i) => name === had[i])) return
    this.#setTrainable({ ...this.#trains, heads }, this.#chosenBy, this.#named)
  }

  #answeringHeads(): readonly string[] {
    return this.#model.headChoice.possible(this.#active)
  }

  protected override merged(adapter: string): void {
    const before = this.#active
    if (setupNames(before, this.#model.known).includes(adapter)) this.#active = withoutAdapter(before, adapter)
    this.#merge = { before, left: this.#active }
  }

  protected override takenOut(): void {
    const { before, left } = this.#merge ?? { before: null, left: null }
    this.#merge = undefined
    const { adapters, adapterFusions } = this.#model
    const isThere =
      adapterNames(before).every((name) => adapters.has(name)) &&
      fuseBlocks(before).every((fuse) => adapterFusions.has(fusionName(fuse)))
    if (this.#active === left && isThere) this.#active = before
  }

  protected override renamed(): void {
    this.#trains = renamedTrainable(this.#trains, this.namedParameters())
  }
}

const without = (names: readonly string[], name: string): readonly string[] => names.filter((other) => other !== name)
