import { AdapterConfig, type AdapterConfigSource, withFlatPrefix } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import { type Fuse, fuseBlocks, fusionName, parseComposition } from '../config/composition.js'
import { type FusionConfigSource, nativeFusionConfig } from '../config/fusion-config.js'
import { type HeadConfig, nativeHeadConfig } from '../config/head-config.js'
import { checkLeaveOut } from '../config/leave-out.js'
import { checkExported, resolveTargets } from '../config/lora-targets.js'
import type { ModelConfig } from '../config/model-config.js'
import { nativeAdapterConfigs } from '../config/size.js'
import type { TextTokenizer } from '../data/tokenizer.js'
import { nativeCall } from '../native/errors.js'
import type { NativeModel, NativeTrainable, TrunkTimes, TrunkType, WeightsSource } from '../native/types.js'
import { outsideScope, scopedSetup } from './adapter-setup.js'
import { type AdapterFusion, asFuse, checkStillFusible, checkUnread, fusionNamed, fusionOf } from './fusions.js'
import { checkHeads, givenHeads, HeadChoice } from './head-choice.js'
import { type AddOptions, checkHeadFits, isTaken } from './heads.js'
import { ModelLife } from './life.js'
import { type ActiveOptions, checkOptions } from './options.js'
import { PartMap } from './part-map.js'
import { promptWords } from './prompt-words.js'
import { warnOfRandomPooler } from './random-pooler.js'
import { withoutAdapter } from './reduced-setup.js'
import { seedFor, startSeed } from './seed.js'
import { type AdapterSetup, checkKnown, type Known, setupNames, unchanging } from './setup.js'
import { checkLayerList } from './skip-layers.js'
import { type ModelSummary, summarize } from './summary.js'
import { checkUnmerged, frozenDecoderBiases, renamedTrainable, trainableUnless } from './trainable.js'

/** How what is new comes to be. */
interface Start {
  readonly replaces: boolean
  readonly seed: number
  /** Where its weights will come from; undefined for new ones. */
  readonly source?: WeightsSource
}

const nothing: NativeTrainable = { adapters: [], heads: [], base: [], frozen: [], fusions: [], inserted: false }

/**
 * A pretrained encoder with adapters and heads: what PyTorch's `*AdapterModel` classes are, under the same parameter names.
 * Made by AutoModel. Configuration calls take effect at once and throw ERR_BUSY while a training run holds the model.
 */
export class Model extends ModelLife {
  readonly config: ModelConfig
  /** Undefined where the model's folder has none: rows must then be ids. */
  readonly tokenizer: TextTokenizer | undefined
  /** Where the model was loaded from; undefined for one made from a config. */
  readonly source: string | undefined
  readonly device: string
  /** How the base model's matrices are kept and multiplied. */
  readonly trunk: TrunkType
  /** What `trunk: 'auto'` measured, in milliseconds; null where the type was given. */
  readonly trunkProbe: TrunkTimes | null

  readonly #native: NativeModel
  readonly #seed: number
  readonly #adapters = new PartMap<AdapterConfig>('addAdapter and deleteAdapter')
  readonly #fusions = new PartMap<AdapterFusion>('addAdapterFusion and deleteAdapterFusion')
  readonly #heads = new PartMap<HeadConfig>('addHead, its kin and deleteHead')
  /** @internal Which heads answer where a call names none. */
  readonly headChoice = new HeadChoice(this.#heads)
  #active: AdapterSetup = null
  #skipped: readonly number[] = []
  #trains: NativeTrainable = nothing
  #chosenBy: 'setup' | 'all' | 'name' = 'name'

  /** @internal AutoModel makes models. */
  constructor(parts: {
    native: NativeModel
    config: ModelConfig
    tokenizer: TextTokenizer | undefined
    source: string | undefined
    device: string
    seed: number
    trunk: TrunkType
    trunkProbe: TrunkTimes | null
  }) {
    super()
    this.#native = parts.native
    this.config = parts.config
    this.tokenizer = parts.tokenizer
    this.source = parts.source
    this.device = parts.device
    this.trunk = parts.trunk
    this.trunkProbe = parts.trunkProbe
    this.#seed = parts.seed
  }

  // ---- adapters and heads ----

  /** @param config preset, shorthand, file, AdapterConfig or its fields. Default 'seq_bn'. */
  addAdapter(name: string, config: AdapterConfigSource = 'seq_bn', options: AddOptions = {}): void {
    this.configurable('addAdapter')
    const replaces = isTaken('adapter', name, this.#adapters, options)
    const seed = startSeed(this.#seed, name, options.seed)
    this.#addAdapter(name, AdapterConfig.load(config), { replaces, seed }, (text) => promptWords(this, text))
  }

  /** @internal Its weights come from a folder: what a prompt would start with does not matter. */
  addAdapterOfFolder(name: string, config: AdapterConfig, source: WeightsSource): void {
    this.configurable('loadAdapter')
    const replaces = isTaken('adapter', name, this.#adapters, { overwriteOk: true })
    this.#addAdapter(name, config, { replaces, seed: 0, source }, () => [])
  }

  #addAdapter(
    name: string,
    given: AdapterConfig,
    { replaces, seed, source }: Start,
    words: (text: string) => number[]
  ): void {
    checkExported(given, this.config)
    const config = resolveTargets(given, this.config)
    checkLeaveOut(config, this.config.numHiddenLayers)
    if (replaces) {
      checkStillFusible(name, config, this.#fusions)
      this.unread('addAdapter', `adapter '${name}'`)
    }
    const native = nativeAdapterConfigs(config, this.config, words)
    nativeCall(() => this.#native.addAdapter(name, native, seed, replaces, source))
    this.#adapters.put(name, config)
    if (replaces) this.#setTrainable(this.#trains, this.#chosenBy)
  }

  /**
   * Takes it out of the active setup, too: `Stack('en', 'qa')` without 'qa' is 'en'. A block with weights, sizes, a fusion or
   * tasks is not the same without one of its own: activeAdapters is then null, as where no adapter is left.
   */
  deleteAdapter(name: string): void {
    this.configurable('deleteAdapter')
    checkKnown('deleteAdapter', name, this.#adapters)
    checkUnread(name, this.#fusions)
    this.unread('deleteAdapter', `adapter '${name}'`)
    const runs = setupNames(this.#active, this.known).includes(name)
    nativeCall(() => this.#native.deleteAdapter(name))
    this.#adapters.drop(name)
    if (runs) this.#active = withoutAdapter(this.#active, name)
    this.#trains = { ...this.#trains, adapters: this.#trains.adapters.filter((other) => other !== name) }
    this.#answeringHeadsTrain()
  }

  /** The names and configs of all adapters. */
  get adapters(): ReadonlyMap<string, AdapterConfig> {
    return this.#adapters
  }

  /**
   * AdapterFusion over bottleneck adapters (Pfeiffer et al. 2021): an attention over what they give, at every place where
   * one of them stands. Gives its name.
   * @param adapters their names, as a list or with commas, or a Fuse block, whose name it takes
   * @param config 'dynamic' (the default), 'static', or fields
   * @param options name: default the adapters' names with commas
   */
  addAdapterFusion(
    adapters: string | readonly string[] | Fuse,
    config: FusionConfigSource = 'dynamic',
    options: AddOptions & { readonly name?: string | undefined } = {}
  ): string {
    this.configurable('addAdapterFusion')
    const { name: given, ...rest } = options
    const { name, fusion } = fusionOf(adapters, config, given, this.#adapters)
    const replaces = isTaken('fusion', name, this.#fusions, rest)
    if (replaces) this.unread('addAdapterFusion', `fusion '${name}'`)
    const native = nativeFusionConfig(fusion.config, this.config.attentionProbsDropoutProb)
    const seed = startSeed(this.#seed, `fusion ${name}`, rest.seed)
    nativeCall(() => this.#native.addFusion(name, fusion.adapters, native, seed, replaces))
    this.#fusions.put(name, fusion)
    if (replaces) this.#setTrainable(this.#trains, this.#chosenBy)
    return name
  }

  /** @param fusion its name, or the adapters or block that it was added for */
  deleteAdapterFusion(fusion: string | readonly string[] | Fuse): void {
    this.configurable('deleteAdapterFusion')
    const name = fusionNamed('deleteAdapterFusion', fusion)
    checkKnown('deleteAdapterFusion', name, this.#fusions)
    this.unread('deleteAdapterFusion', `fusion '${name}'`)
    const runs = fuseBlocks(this.#active).some((fuse) => fusionName(fuse) === name)
    nativeCall(() => this.#native.deleteFusion(name))
    this.#fusions.drop(name)
    if (runs) this.#active = null
    this.#trains = { ...this.#trains, fusions: this.#trains.fusions.filter((other) => other !== name) }
    this.#answeringHeadsTrain()
  }

  /** The names of all fusions, with their configs and adapters. */
  get adapterFusions(): ReadonlyMap<string, AdapterFusion> {
    return this.#fusions
  }

  get heads(): ReadonlyMap<string, HeadConfig> {
    return this.#heads
  }

  /** A head from its config. The first head becomes the active one. */
  addHead(name: string, config: HeadConfig, options: AddOptions = {}): void {
    this.configurable('addHead')
    const replaces = isTaken('head', name, this.#heads, options)
    this.#addHead(name, config, { replaces, seed: startSeed(this.#seed, `head ${name}`, options.seed) })
  }

  /** @internal As with addAdapterOfFolder. */
  addHeadOfFolder(name: string, config: HeadConfig, source: WeightsSource): void {
    this.configurable('loadHead')
    const replaces = isTaken('head', name, this.#heads, { overwriteOk: true })
    this.#addHead(name, config, { replaces, seed: 0, source })
  }

  #addHead(name: string, config: HeadConfig, { replaces, seed, source }: Start): void {
    checkHeadFits(config, this.config)
    if (replaces) this.unread('addHead', `head '${name}'`)
    const native = nativeHeadConfig(config, this.config.classifierDropout)
    nativeCall(() => this.#native.addHead(name, native, seed, replaces, source))
    this.#heads.put(name, config)
    warnOfRandomPooler(this, name, config)
    if (replaces) this.forgetSurgery(`heads.${name}.`)
    if (replaces) this.#setTrainable(this.#trains, this.#chosenBy)
    else this.headChoice.added(name)
    this.#answeringHeadsTrain()
  }

  deleteHead(name: string): void {
    this.configurable('deleteHead')
    checkKnown('deleteHead', name, this.#heads)
    this.unread('deleteHead', `head '${name}'`)
    nativeCall(() => this.#native.deleteHead(name))
    this.#heads.drop(name)
    this.forgetSurgery(`heads.${name}.`)
    this.headChoice.deleted(name)
    this.#trains = { ...this.#trains, heads: this.#trains.heads.filter((other) => other !== name) }
    this.#answeringHeadsTrain()
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
    const skipped = checkLayerList('skipLayers', options.skipLayers ?? [], this)
    setupNames(setup, this.known, 'setActiveAdapters')
    const head = options.head === undefined ? undefined : checkHeads(options.head, this.#heads)
    const given = head === undefined || head === null || typeof head === 'string' ? head : givenHeads(head, setup)
    this.#active = unchanging(setup)
    this.#skipped = skipped
    this.headChoice.follow(setup)
    if (given !== undefined) this.headChoice.choose(given, setup)
    this.#answeringHeadsTrain()
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
   * each row's own, which has the name of its last adapter, and for rows without one the head that stands here.
   */
  get activeHead(): string | null {
    return this.headChoice.name
  }

  set activeHead(name: string | null) {
    this.configurable('activeHead')
    outsideScope('activeHead')
    this.headChoice.set(name)
    this.#answeringHeadsTrain()
  }

  // ---- what trains ----

  /** Activates the setup and trains its adapters with the active head; everything else is frozen. */
  trainAdapter(setup: Exclude<AdapterSetup, null>): void {
    this.configurable('trainAdapter')
    const adapters = setupNames(setup, this.known, 'trainAdapter')
    if (adapters.length === 0) {
      throw check.valueError('trainAdapter', 'expected a setup with an adapter; trainHead trains a head alone')
    }
    checkUnmerged('trainAdapter', adapters, this.mergedAdapter)
    this.setActiveAdapters(setup)
    this.#setTrainable({ ...nothing, adapters, heads: this.headChoice.possible(this.#active) }, 'setup')
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
    const names = setupNames(setup, this.known, 'trainAdapterFusion')
    checkUnmerged('trainAdapterFusion', names, this.mergedAdapter)
    const fusions = fuseBlocks(parseComposition(setup)).map(fusionName)
    if (fusions.length === 0) {
      throw check.valueError('trainAdapterFusion', "expected a setup with a Fuse block, such as Fuse('a', 'b')")
    }
    this.setActiveAdapters(setup)
    const adapters = options.unfreezeAdapters ? names : []
    this.#setTrainable({ ...nothing, adapters, fusions, heads: this.headChoice.possible(this.#active) }, 'setup')
  }

  /** Trains a head alone, on the features of the base model and the active adapters. */
  trainHead(name: string): void {
    this.configurable('trainHead')
    this.activeHead = checkKnown('trainHead', name, this.#heads)
    this.#setTrainable({ ...nothing, heads: [name] })
  }

  /** Full fine-tuning: the base model, the active adapters and the active head. */
  trainAll(): void {
    this.configurable('trainAll')
    const adapters = setupNames(this.#active, this.known)
    const fusions = fuseBlocks(this.#active).map(fusionName)
    const heads = this.headChoice.possible(this.#active)
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
      adapters: [...this.#adapters.keys()],
      fusions: [...this.#fusions.keys()],
      heads: [...this.#heads.keys()]
    })
    this.#setTrainable(what)
  }

  adapterSummary(): ModelSummary {
    const active = setupNames(this.#active, this.known)
    return summarize(this.namedParameters(), this.#adapters, new Set(active), new Set(this.#trains.adapters))
  }

  /**
   * Where adapters can stand in an exported network, as its graph shows it: a sentence for each site with its layer and its
   * Linears, and for what was left out, and why. Of other models a sentence for the family.
   */
  explainPlacement(): readonly string[] {
    const { exported, modelType, numHiddenLayers } = this.config
    if (exported !== null) return exported.explanation
    return [`a model of type ${modelType}: behind attention and feed-forward of each of its ${numHiddenLayers} layers`]
  }

  // ---- the core's part, and what the library asks for ----

  /** @internal The handle, for lib/training. */
  get native(): NativeModel {
    this.usable('model')
    return this.#native
  }

  /** @internal What trainAdapter or trainAdapterFusion chose and still trains. */
  get chosenToTrain(): Pick<NativeTrainable, 'adapters' | 'fusions'> {
    return this.#chosenBy === 'setup' ? this.#trains : nothing
  }

  /** @internal Goes back to the heads that answer now, for one that came and went. */
  keepHeadChoice(): () => void {
    const back = this.headChoice.keep()
    return () => {
      back()
      this.#answeringHeadsTrain()
    }
  }

  /** @internal What setups may name. */
  get known(): Known {
    return { adapters: this.#adapters, fusions: this.#fusions }
  }

  #setTrainable(chosen: NativeTrainable, by: 'setup' | 'all' | 'name' = 'name'): void {
    const what = by === 'setup' ? { ...chosen, frozen: frozenDecoderBiases(chosen.heads, this.#heads) } : chosen
    nativeCall(() => this.#native.setTrainable(what))
    this.#trains = what
    this.#chosenBy = by
  }

  /**
   * What was chosen learns through the heads that answer, also where these change afterwards: they must not stay as they
   * started. Heads that were chosen by name are the caller's affair.
   */
  #answeringHeadsTrain(): void {
    if (this.#chosenBy === 'name') return
    const heads = this.headChoice.possible(this.#active)
    const had = this.#trains.heads
    if (heads.length === had.length && heads.every((name, i) => name === had[i])) return
    this.#setTrainable({ ...this.#trains, heads }, this.#chosenBy)
  }

  protected override seedFor(name: string): number {
    return seedFor(this.#seed, name)
  }

  protected override deactivate(adapter: string): void {
    if (setupNames(this.#active, this.known).includes(adapter)) this.#active = null
  }

  protected override flattened(adapter: string): void {
    const config = this.#adapters.get(adapter)
    if (config !== undefined) this.#adapters.put(adapter, withFlatPrefix(config))
    this.#setTrainable(this.#trains, this.#chosenBy)
  }

  protected override renamed(): void {
    this.#trains = renamedTrainable(this.#trains, this.namedParameters())
  }

  protected override release(): void {
    this.#native.dispose()
  }
}
