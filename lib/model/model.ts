import { AdapterConfig, type AdapterConfigSource } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import { type HeadConfig, nativeHeadConfig } from '../config/head-config.js'
import type { ModelConfig } from '../config/model-config.js'
import { nativeBottleneckConfig } from '../config/size.js'
import type { Row } from '../data/dataset.js'
import { labelsTokens } from '../data/labels.js'
import type { TextTokenizer } from '../data/tokenizer.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { NativeForwardOptions, NativeModel, NativeTrainable, ParameterInfo, TensorData } from '../native/types.js'
import {
  type LoadAdapterOptions,
  type LoadHeadOptions,
  loadAdapter,
  loadHead,
  type SaveAdapterOptions,
  type SaveHeadOptions,
  saveAdapter,
  saveHead,
  savePretrained
} from './exchange.js'
import { type AddOptions, HeadAdders, isTaken } from './heads.js'
import { type ForwardInputs, packInputs } from './inputs.js'
import { pathPattern } from './module-path.js'
import { checkOptions, type ForwardOptions, type PredictOptions } from './options.js'
import { type ForwardOutputs, layOut, type Tensor } from './outputs.js'
import { type Prediction, predict } from './predict.js'
import { seedFor } from './seed.js'
import { type AdapterSetup, checkKnown, nativeSetups, setupNames } from './setup.js'
import { isBaseParameter, type ModelSummary, summarize } from './summary.js'
import { trainableUnless } from './trainable.js'

/**
 * A pretrained encoder with adapters and heads: what PyTorch's `*AdapterModel` classes are, under the same parameter names.
 * Made by AutoModel. Configuration calls take effect at once and throw ERR_BUSY while a training run holds the model.
 */
export class Model extends HeadAdders {
  readonly config: ModelConfig
  /** Undefined where the model's folder has none: rows must then be ids. */
  readonly tokenizer: TextTokenizer | undefined
  /** Where the model was loaded from; undefined for one made from a config. */
  readonly source: string | undefined
  readonly device: string

  readonly #native: NativeModel
  readonly #seed: number
  readonly #adapters = new Map<string, AdapterConfig>()
  readonly #heads = new Map<string, HeadConfig>()
  #active: AdapterSetup = null
  #activeHead: string | null = null
  #trains: NativeTrainable = { adapters: [], heads: [], base: [], frozen: [] }
  #holder: string | null = null
  #disposed = false

  /** @internal AutoModel makes models. */
  constructor(parts: {
    native: NativeModel
    config: ModelConfig
    tokenizer: TextTokenizer | undefined
    source: string | undefined
    device: string
    seed: number
  }) {
    super()
    this.#native = parts.native
    this.config = parts.config
    this.tokenizer = parts.tokenizer
    this.source = parts.source
    this.device = parts.device
    this.#seed = parts.seed
  }

  // ---- adapters and heads ----

  /** @param config preset, shorthand, file, AdapterConfig or its fields. Default 'seq_bn'. */
  addAdapter(name: string, config: AdapterConfigSource = 'seq_bn', options: AddOptions = {}): void {
    this.#configurable('addAdapter')
    const replaces = isTaken('adapter', name, this.#adapters, options)
    const loaded = AdapterConfig.load(config)
    const parts = loaded.method === 'union' ? loaded.configs : [loaded]
    const native = parts.map((part) => nativeBottleneckConfig(part, this.config))
    nativeCall(() => this.#native.addAdapter(name, native, seedFor(this.#seed, name), replaces))
    this.#adapters.set(name, loaded)
    if (replaces) this.#setTrainable(this.#trains)
  }

  deleteAdapter(name: string): void {
    this.#configurable('deleteAdapter')
    checkKnown('deleteAdapter', name, new Set(this.#adapters.keys()))
    nativeCall(() => this.#native.deleteAdapter(name))
    this.#adapters.delete(name)
    if (setupNames(this.#active, new Set([...this.#adapters.keys(), name])).includes(name)) this.#active = null
    this.#trains = { ...this.#trains, adapters: this.#trains.adapters.filter((other) => other !== name) }
  }

  /** The names and configs of all adapters. */
  get adapters(): ReadonlyMap<string, AdapterConfig> {
    return this.#adapters
  }

  get heads(): ReadonlyMap<string, HeadConfig> {
    return this.#heads
  }

  /** A head from its config. The first head becomes the active one. */
  addHead(name: string, config: HeadConfig, options: AddOptions = {}): void {
    this.#configurable('addHead')
    const replaces = isTaken('head', name, this.#heads, options)
    const native = nativeHeadConfig(this.#withDropout(config))
    nativeCall(() => this.#native.addHead(name, native, seedFor(this.#seed, `head ${name}`), replaces))
    this.#heads.set(name, config)
    if (replaces) this.#setTrainable(this.#trains)
    else this.#activeHead ??= name
  }

  deleteHead(name: string): void {
    this.#configurable('deleteHead')
    checkKnown('deleteHead', name, new Set(this.#heads.keys()))
    nativeCall(() => this.#native.deleteHead(name))
    this.#heads.delete(name)
    if (this.#activeHead === name) this.#activeHead = null
    this.#trains = { ...this.#trains, heads: this.#trains.heads.filter((other) => other !== name) }
  }

  // ---- what runs ----

  /** Which adapters run where a call names none. Also makes the head of the last one the active head, if it has one. */
  setActiveAdapters(setup: AdapterSetup): void {
    this.#configurable('setActiveAdapters')
    const names = setupNames(setup, new Set(this.#adapters.keys()), 'setActiveAdapters')
    this.#active = setup
    const last = names.at(-1)
    if (last !== undefined && this.#heads.has(last)) this.#activeHead = last
  }

  get activeAdapters(): AdapterSetup {
    return this.#active
  }

  get activeHead(): string | null {
    return this.#activeHead
  }

  set activeHead(name: string | null) {
    this.#configurable('activeHead')
    this.#activeHead = name === null ? null : checkKnown('activeHead', name, new Set(this.#heads.keys()))
  }

  // ---- what trains ----

  /** Activates the setup and trains its adapters with the active head; everything else is frozen. */
  trainAdapter(setup: Exclude<AdapterSetup, null>): void {
    this.#configurable('trainAdapter')
    const names = setupNames(setup, new Set(this.#adapters.keys()), 'trainAdapter')
    this.setActiveAdapters(setup)
    const heads = this.#activeHead === null ? [] : [this.#activeHead]
    this.#setTrainable({ adapters: names, heads, base: [], frozen: [] })
  }

  /** Trains a head alone, on the features of the base model and the active adapters. */
  trainHead(name: string): void {
    this.#configurable('trainHead')
    this.activeHead = name
    this.#setTrainable({ adapters: [], heads: [name], base: [], frozen: [] })
  }

  /** Full fine-tuning: the base model, the active adapters and the active head. */
  trainAll(): void {
    this.#configurable('trainAll')
    this.#setTrainable({
      adapters: setupNames(this.#active, new Set(this.#adapters.keys())),
      heads: this.#activeHead === null ? [] : [this.#activeHead],
      base: this.#baseNames(),
      frozen: []
    })
  }

  /** Freezes the base model; adapters and heads train. */
  freezeBaseModel(): void {
    this.freeze(isBaseParameter)
  }

  /**
   * Freezes the parameters that the predicate names, each by itself, and lets all others train. What is frozen has no
   * gradient and keeps every bit, under weight decay too.
   */
  freeze(isFrozen: (name: string) => boolean): void {
    this.#configurable('freeze')
    if (typeof isFrozen !== 'function') throw check.typeError('freeze', 'a function of a parameter’s name', isFrozen)
    const what = trainableUnless(isFrozen, this.namedParameters(), [...this.#adapters.keys()], [...this.#heads.keys()])
    this.#setTrainable(what)
  }

  // ---- names ----

  /** Module paths in PyTorch's order; with a pattern (`bert.encoder.layer.*.output`) those that match. */
  namedModules(pattern?: string): string[] {
    this.#usable('namedModules')
    const paths = nativeCall(() => this.#native.namedModules()).map(({ path }) => path)
    return pattern === undefined ? paths : paths.filter(pathPattern(check.checkString('pattern', pattern)))
  }

  /** Every parameter once, in PyTorch's order, with its shape and whether it trains. */
  namedParameters(): ParameterInfo[] {
    this.#usable('namedParameters')
    return nativeCall(() => this.#native.namedParameters())
  }

  /** A copy of one parameter's values. */
  parameter(name: string): Tensor {
    this.#usable('parameter')
    return nativeCall(() => this.#native.parameter(check.checkString('name', name)))
  }

  adapterSummary(): ModelSummary {
    const active = setupNames(this.#active, new Set(this.#adapters.keys()))
    return summarize(this.namedParameters(), this.#adapters, new Set(active), new Set(this.#trains.adapters))
  }

  // ---- work ----

  async forward(inputs: ForwardInputs, options: ForwardOptions = {}): Promise<ForwardOutputs> {
    this.#usable('forward')
    checkOptions(options, ['adapters', 'head', 'outputHiddenStates'])
    const head = this.#headFor(options.head)
    const packed = packInputs(inputs, this.config, head.config)
    const native = this.#passOptions(options, head.name, packed.rows)
    const result = await nativeCall(() => this.#native.forward(packed.batch, native))
    return layOut(result, packed, head.config !== undefined && labelsTokens(head.config))
  }

  /** Answers rows of text or ids, in their order. */
  async predict(rows: readonly (Row | string)[], options: PredictOptions = {}): Promise<Prediction[]> {
    this.#usable('predict')
    return predict(this, rows, options)
  }

  /** One backward pass over a batch, dropout off, nothing updated: the loss and the gradient of every trainable parameter. */
  async gradients(
    inputs: ForwardInputs,
    options: Omit<ForwardOptions, 'outputHiddenStates'> = {}
  ): Promise<{ loss: number; gradients: Map<string, TensorData> }> {
    this.#configurable('gradients')
    checkOptions(options, ['adapters', 'head'])
    const head = this.#headFor(options.head)
    const packed = packInputs(inputs, this.config, head.config)
    return await nativeCall(() =>
      this.#native.gradients(packed.batch, this.#passOptions(options, head.name, packed.rows))
    )
  }

  // ---- files ----

  /** Writes an AdapterHub folder, which Python's `adapters` loads. */
  async saveAdapter(folder: string, name: string, options: SaveAdapterOptions = {}): Promise<void> {
    this.#usable('saveAdapter')
    await saveAdapter(this, folder, name, options)
  }

  /** Loads an AdapterHub folder or hub id, with its head; gives the adapter's name here. */
  async loadAdapter(source: string, options: LoadAdapterOptions = {}): Promise<string> {
    this.#configurable('loadAdapter')
    return await loadAdapter(this, source, options)
  }

  /** Writes the folder of a head alone, as Python's `save_head` does. */
  async saveHead(folder: string, name: string, options: SaveHeadOptions = {}): Promise<void> {
    this.#usable('saveHead')
    await saveHead(this, folder, name, options)
  }

  /** Loads the head of a folder or hub id; gives its name here. */
  async loadHead(source: string, options: LoadHeadOptions = {}): Promise<string> {
    this.#configurable('loadHead')
    return await loadHead(this, source, options)
  }

  /** Writes the base model: config.json, model.safetensors and, where there is one, the tokenizer. */
  async savePretrained(
    folder: string,
    options: { readonly dtype?: 'float32' | 'float16' | 'bfloat16' } = {}
  ): Promise<void> {
    this.#usable('savePretrained')
    checkOptions(options, ['dtype'])
    await savePretrained(this, folder, options.dtype ?? 'float32')
  }

  /** Copies values into parameters by name; unknown names and wrong shapes are one error. */
  loadStateDict(values: ReadonlyMap<string, { readonly data: Float32Array; readonly shape: readonly number[] }>): void {
    this.#configurable('loadStateDict')
    nativeCall(() => this.#native.setParameters(values))
  }

  // ---- life ----

  get disposed(): boolean {
    return this.#disposed
  }

  /** Gives the model's memory back. Work under way still ends well; later calls throw ERR_DISPOSED. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#native.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** @internal The handle, for lib/training. */
  get native(): NativeModel {
    this.#usable('model')
    return this.#native
  }

  /** @internal A run holds the model: nothing about it may change until the returned function is called. */
  hold(who: string): () => void {
    this.#configurable(who)
    this.#holder = who
    return () => {
      this.#holder = null
    }
  }

  /** @internal */
  passOptions(options: ForwardOptions, rows: number): NativeForwardOptions {
    return this.#passOptions(options, this.#headFor(options.head).name, rows)
  }

  // ---- inside ----

  #passOptions(options: ForwardOptions, head: string | null, rows: number): NativeForwardOptions {
    const adapters = options.adapters === undefined ? this.#active : options.adapters
    const hidden = options.outputHiddenStates ?? false
    return {
      ...nativeSetups(adapters, rows, new Set(this.#adapters.keys())),
      head,
      outputHiddenStates: hidden,
      outputLastHiddenState: hidden
    }
  }

  #headFor(name: string | null | undefined): { name: string | null; config: HeadConfig | undefined } {
    const chosen = name === undefined ? this.#activeHead : name
    if (chosen === null) return { name: null, config: undefined }
    checkKnown('head', chosen, new Set(this.#heads.keys()))
    return { name: chosen, config: this.#heads.get(chosen) }
  }

  #setTrainable(what: NativeTrainable): void {
    nativeCall(() => this.#native.setTrainable(what))
    this.#trains = what
  }

  #baseNames(): string[] {
    return this.namedParameters().flatMap(({ name }) => (isBaseParameter(name) ? [name] : []))
  }

  #withDropout(config: HeadConfig): HeadConfig {
    if (config.headType === 'masked_lm' || config.dropoutProb !== null) return config
    return { ...config, dropoutProb: this.config.classifierDropout }
  }

  #usable(operation: string): void {
    if (!this.#disposed) return
    throw new AdapterError('ERR_DISPOSED', operation, 'the model was disposed of', { hint: 'Load it again to go on' })
  }

  #configurable(operation: string): void {
    this.#usable(operation)
    if (this.#holder === null) return
    throw new AdapterError('ERR_BUSY', operation, `${this.#holder} holds the model`, {
      hint: 'Wait until the run ends, or abort it'
    })
  }
}
