import { AdapterConfig, type AdapterConfigSource, withFlatPrefix } from '../config/adapter-config.js'
import type { Fuse } from '../config/composition.js'
import { type FusionConfigSource, nativeFusionConfig } from '../config/fusion-config.js'
import { checkedHead, type HeadConfig, nativeHeadConfig } from '../config/head-config.js'
import { checkLeaveOut } from '../config/leave-out.js'
import { checkExported, resolveTargets } from '../config/lora-targets.js'
import type { ModelConfig } from '../config/model-config.js'
import { nativeAdapterConfigs } from '../config/size.js'
import type { TextTokenizer } from '../data/tokenizer.js'
import { nativeCall } from '../native/errors.js'
import type { NativeModel, TrunkTimes, TrunkType, WeightsSource } from '../native/types.js'
import { ModelChoices } from './choices.js'
import { type AdapterFusion, checkStillFusible, checkUnread, fusionNamed, fusionOf } from './fusions.js'
import { HeadChoice } from './head-choice.js'
import { type AddOptions, checkHeadFits, isTaken } from './heads.js'
import { PartMap } from './part-map.js'
import { promptWords } from './prompt-words.js'
import { warnOfRandomPooler } from './random-pooler.js'
import { seedFor, startSeed } from './seed.js'
import { checkKnown, type Known } from './setup.js'

/** How what is new comes to be. */
interface Start {
  readonly replaces: boolean
  readonly seed: number
  /** Where its weights will come from; undefined for new ones. */
  readonly source?: WeightsSource
}

/**
 * A pretrained encoder with adapters and heads: what PyTorch's `*AdapterModel` classes are, under the same parameter names.
 * Made by AutoModel. Configuration calls take effect at once and throw ERR_BUSY while a training run holds the model.
 */
export class Model extends ModelChoices {
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
      this.unused('addAdapter', `adapter '${name}'`)
    }
    const native = nativeAdapterConfigs(config, this.config, words)
    nativeCall(() => this.#native.addAdapter(name, native, seed, replaces, source))
    this.#adapters.put(name, config)
    if (replaces) this.replacedTrains()
  }

  /**
   * Takes it out of the active setup, too: `Stack('en', 'qa')` without 'qa' is 'en'. A block with weights, sizes, a fusion or
   * tasks is not the same without one of its own: activeAdapters is then null, as where no adapter is left.
   */
  deleteAdapter(name: string): void {
    this.configurable('deleteAdapter')
    checkKnown('deleteAdapter', name, this.#adapters)
    checkUnread(name, this.#fusions)
    this.unused('deleteAdapter', `adapter '${name}'`)
    nativeCall(() => this.#native.deleteAdapter(name))
    this.#adapters.drop(name)
    this.deletedAdapter(name)
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
    if (replaces) this.unused('addAdapterFusion', `fusion '${name}'`)
    const native = nativeFusionConfig(fusion.config, this.config.attentionProbsDropoutProb)
    const seed = startSeed(this.#seed, `fusion ${name}`, rest.seed)
    nativeCall(() => this.#native.addFusion(name, fusion.adapters, native, seed, replaces))
    this.#fusions.put(name, fusion)
    if (replaces) this.replacedTrains()
    return name
  }

  /** @param fusion its name, or the adapters or block that it was added for */
  deleteAdapterFusion(fusion: string | readonly string[] | Fuse): void {
    this.configurable('deleteAdapterFusion')
    const name = fusionNamed('deleteAdapterFusion', fusion)
    checkKnown('deleteAdapterFusion', name, this.#fusions)
    this.unused('deleteAdapterFusion', `fusion '${name}'`)
    nativeCall(() => this.#native.deleteFusion(name))
    this.#fusions.drop(name)
    this.deletedFusion(name)
  }

  /** The names of all fusions, with their configs and adapters. */
  get adapterFusions(): ReadonlyMap<string, AdapterFusion> {
    return this.#fusions
  }

  /** The names of all heads, with their configs, in the order in which they were added. */
  get heads(): ReadonlyMap<string, HeadConfig> {
    return this.#heads
  }

  /**
   * A head from its config, such as `model.heads.get('a')` gives. The first head becomes the active one. Every field is
   * checked; errors are those of the calls for each kind, such as `addClassificationHead`.
   */
  addHead(name: string, config: HeadConfig, options: AddOptions = {}): void {
    this.configurable('addHead')
    const replaces = isTaken('head', name, this.#heads, options)
    this.#addHead(name, checkedHead(config, this.config.exported !== null), {
      replaces,
      seed: startSeed(this.#seed, `head ${name}`, options.seed)
    })
  }

  /** @internal As with addAdapterOfFolder. */
  addHeadOfFolder(name: string, config: HeadConfig, source: WeightsSource): void {
    this.configurable('loadHead')
    const replaces = isTaken('head', name, this.#heads, { overwriteOk: true })
    this.#addHead(name, config, { replaces, seed: 0, source })
  }

  #addHead(name: string, config: HeadConfig, { replaces, seed, source }: Start): void {
    checkHeadFits(config, this.config)
    if (replaces) this.unused('addHead', `head '${name}'`)
    const native = nativeHeadConfig(config, this.config.classifierDropout)
    nativeCall(() => this.#native.addHead(name, native, seed, replaces, source))
    this.#heads.put(name, config)
    warnOfRandomPooler(this, name, config)
    if (replaces) this.forgetSurgery(`heads.${name}.`)
    if (replaces) this.replacedTrains()
    else this.headChoice.added(name)
    this.answeringHeadsTrain()
  }

  /** A model whose active head goes has none (`activeHead` null). An unknown name is a TypeError; ERR_BUSY while calls read it. */
  deleteHead(name: string): void {
    this.configurable('deleteHead')
    checkKnown('deleteHead', name, this.#heads)
    this.unused('deleteHead', `head '${name}'`)
    nativeCall(() => this.#native.deleteHead(name))
    this.#heads.drop(name)
    this.forgetSurgery(`heads.${name}.`)
    this.deletedHead(name)
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

  /** @internal What setups may name. */
  get known(): Known {
    return { adapters: this.#adapters, fusions: this.#fusions }
  }

  protected override seedFor(name: string): number {
    return seedFor(this.#seed, name)
  }

  protected override flattened(adapter: string): void {
    const config = this.#adapters.get(adapter)
    if (config !== undefined) this.#adapters.put(adapter, withFlatPrefix(config))
    this.replacedTrains()
  }

  protected override release(): void {
    this.#native.dispose()
  }
}
