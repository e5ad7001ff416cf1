import type {
  NativeAdapterConfig,
  NativeFusionConfig,
  NativeHeadConfig,
  NativeModelConfig,
  NativeReplacement
} from './config-types.js'
import type { NativeExportedHandle } from './exported-types.js'
import type {
  NativeBatch,
  NativeForwardOptions,
  NativeForwardResult,
  NativeGenerateOptions,
  NativePassGroup
} from './pass-types.js'
import type { NativePassMemory, NativeTrainer, NativeTrainerOptions } from './trainer-types.js'

/** The addon's face, and the only place that types it. Everything here is plain data; the public API stands on lib/model and lib/training. */

export type DType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint8'
  | 'bool'

/** A tensor that crossed the boundary: row-major data, copied. */
export interface TensorData {
  readonly data: Float32Array
  readonly shape: number[]
  readonly dtype: DType
}

/** A module whose weight is that of a Linear of the model, with PEFT's adapter at it. */
export interface FoldedLinear {
  /** As in the file. */
  readonly module: string
  /** The Linear, as in namedParameters. */
  readonly source: string
  readonly kind: 'lora' | 'dora' | 'vera' | 'ia3' | 'ia3_input'
  /** Of LoRA and DoRA. */
  readonly scale: number
}

export interface TensorInfo {
  readonly name: string
  readonly shape: number[]
  readonly dtype: DType
}

export interface ParameterInfo extends TensorInfo {
  readonly trainable: boolean
  /** Whose it is; `inserted`: of a module that surgery made. */
  readonly part: 'base' | 'adapter' | 'fusion' | 'head' | 'inserted'
}

export interface ModuleInfo {
  readonly path: string
  /** PyTorch's class name, such as `Linear`. */
  readonly type: string
  /** It maps tokens to tokens, and surgery may put something else in its place. */
  readonly replaceable: boolean
  /**
   * Sizes of the tensors that it takes and gives, in PyTorch's form in an exported network: a name where they differ from
   * call to call (`['batch', 'sequence', 64]`). In our own layers `['tokens', 64]`. Empty: not known, or it is never called.
   */
  readonly inputs: (string | number)[][]
  readonly outputs: (string | number)[][]
  /** How often a pass calls it, where its network is an exported one. */
  readonly calls: number
}

export interface NativeModuleInfo extends ModuleInfo {
  /** No module of an exported network, but a place of the library in it, such as `loras`. */
  readonly beside: boolean
  /** The first path to its place, which has several where a module around it stands in several places; else its own. */
  readonly firstPath: string
}

/** One of several that are averaged; `scale`: of LoRA, alpha / r. */
export interface NativeAverageSource {
  readonly name: string
  readonly weight: number
  readonly scale: number
}

export interface NativeTrainable {
  readonly adapters: readonly string[]
  readonly heads: readonly string[]
  /** Names of base parameters that train (full fine-tuning: all of them). */
  readonly base: readonly string[]
  /** Parameters of these adapters, fusions and heads that stand still all the same. */
  readonly frozen: readonly string[]
  readonly fusions: readonly string[]
  /** What surgery made. */
  readonly inserted: boolean
}

export interface LoadReport {
  readonly missing: string[]
  readonly unexpected: string[]
  /** Of an exported network: the file's names of those that are neither buffers of whole numbers nor tied to others. */
  readonly unplaced: string[]
  /** The file's names have the prefix of a class with a head. */
  readonly hasPrefix: boolean
}

export type WeightsFormat = 'safetensors' | 'bin'

export type KeyDialect = 'adapterhub' | 'plain'

export interface NativeModel {
  /** Memory-maps the folder's weights (safetensors, sharded too, or pytorch_model.bin) as the base; strict about shapes. */
  loadWeights(folder: string): Promise<LoadReport>
  /** Random weights for every parameter that has none, as Hugging Face initialises them. */
  initWeights(seed: number): Promise<void>
  /**
   * One config, or several that name different places (a union). `replace`: takes the place of one of this name, which
   * stays as it was where the new one cannot be made. `source`: what its weights will be loaded from, which must be able to hold
   * them.
   */
  addAdapter(
    name: string,
    configs: readonly NativeAdapterConfig[],
    seed: number,
    replace?: boolean,
    source?: WeightsSource
  ): void
  deleteAdapter(name: string): void
  /** Puts an adapter's change of weights into the base model, and takes it out again bit for bit. */
  mergeAdapter(name: string): void
  resetAdapter(): void
  /** MTL-LoRA adapters of one configuration get one A and one set of up-projections, the reference's. */
  shareParameters(group: string, adapters: readonly string[], reference: string): void
  unshareParameters(group: string): void
  /** The flat form of an adapter's prefix, of the same values. */
  ejectPrefixTuning(name: string): void
  /** Gives an adapter or head that is there the weighted sum of others of its shape. */
  averageAdapters(
    name: string,
    scale: number,
    sources: readonly NativeAverageSource[],
    strategy: 'linear' | 'lora_linear_only_negate_b' | 'lora_delta_w_svd'
  ): void
  averageHeads(name: string, sources: readonly NativeAverageSource[]): void
  /** AdapterFusion at every place where one of the adapters, all of them bottlenecks, stands. */
  addFusion(
    name: string,
    adapters: readonly string[],
    config: NativeFusionConfig,
    seed: number,
    replace?: boolean
  ): void
  deleteFusion(name: string): void
  /** What scores are divided by. */
  fusionTemperature(name: string): number
  setFusionTemperature(name: string, value: number): void
  addHead(name: string, config: NativeHeadConfig, seed: number, replace?: boolean, source?: WeightsSource): void
  deleteHead(name: string): void
  /** What trains is what gradients reach; everything else is frozen. */
  setTrainable(what: NativeTrainable): void
  /** All or nothing; gives the operation's number. What is new starts from the seed, frozen or training as inserted modules are. */
  replaceModules(replacements: readonly NativeReplacement[], seed: number, source?: WeightsSource): number
  /** What stood there before is back, bit for bit. */
  undoReplacement(operation: number): void
  namedParameters(): ParameterInfo[]
  namedModules(): NativeModuleInfo[]
  parameter(name: string): TensorData
  /** Copies values into existing parameters; base parameters are first taken off the file's mapping. */
  setParameters(values: ReadonlyMap<string, { data: Float32Array; shape: readonly number[] }>): void
  forward(batch: NativeBatch, options: NativeForwardOptions): Promise<NativeForwardResult>
  /** One pass after the other; what they give stays where it was computed until the last is done. */
  forwardEach(batches: readonly NativeBatch[], options: readonly NativeForwardOptions[]): Promise<NativeForwardResult[]>
  /** What forwardEach takes of memory, found by running it for one group after the other; no answers come of it. */
  measureEach(groups: readonly NativePassGroup[]): Promise<NativePassMemory>
  /**
   * New tokens of each row, an end token included. A model whose tokens see only those before them. With a stopId `written`
   * is called after each step with the batch's rows that still ran and the new token of each.
   */
  generate(
    batch: NativeBatch,
    options: NativeForwardOptions,
    how: NativeGenerateOptions,
    written?: (rows: Int32Array, tokens: Int32Array) => void
  ): Promise<Int32Array[]>
  /** Ends that generation before its next token with ERR_ABORTED, where it still runs, and forgets it. */
  stopGenerating(id: number): void
  /** One backward pass, nothing updated; dropout off. For tests and tools. `trains`: in this pass, and again behind it. */
  gradients(
    batch: NativeBatch,
    options: NativeForwardOptions,
    trains?: { readonly meanwhile: NativeTrainable; readonly afterwards: NativeTrainable }
  ): Promise<{ loss: number; gradients: Map<string, TensorData> }>
  /** From now on, for passes that allow it, until closed. Frozen parameters stay as they are meanwhile. */
  openFrozenStates(options: NativeFrozenStatesOptions): void
  closeFrozenStates(): FrozenLayerReport
  /** Writes the adapter's (or head's) tensors under PyTorch's names; written to a temporary name, then renamed. */
  saveAdapter(file: string, name: string, format: WeightsFormat, dialect: KeyDialect): Promise<void>
  saveHead(file: string, name: string, format: WeightsFormat): Promise<void>
  /**
   * As PEFT names it; `head`: also the head of its name, by the modules of its class and the index each has in ours.
   * `ownModules`: also these of the network itself. `multihead`: paths of nn.MultiheadAttention with one LoRA in PEFT's
   * form, and what its second factors at in_proj and at out_proj are multiplied with.
   */
  savePeftAdapter(
    file: string,
    name: string,
    format: WeightsFormat,
    head: Readonly<Record<string, number>> | null,
    ownModules: readonly string[],
    multihead: Readonly<Record<string, readonly [number, number]>>
  ): Promise<void>
  saveFusion(file: string, name: string, format: WeightsFormat): Promise<void>
  /** Strict: missing, unexpected and mis-shaped keys are one error. `from` is the name inside the file, which may be a folder. */
  loadAdapter(file: string, name: string, from: string): Promise<void>
  /**
   * `headModules`: what the file holds of a head, which is passed by; `ownModules`: what it holds of the network itself, which
   * must be the network's.
   */
  loadPeftAdapter(
    file: string,
    name: string,
    headModules: readonly string[],
    ownModules: readonly string[]
  ): Promise<void>
  loadFusion(file: string, name: string, from: string): Promise<void>
  /**
   * `layers`: for a file of a class with a head of its own, its modules and the index each has in our head. `folded`: those of
   * them that the file has as PEFT's adapter at a Linear of the model.
   */
  loadHead(
    file: string,
    name: string,
    from: string,
    layers: Readonly<Record<string, number>> | null,
    folded?: readonly FoldedLinear[]
  ): Promise<void>
  /** What surgery inserted, by its names in the state dict; what stands in several places once. */
  saveInserted(file: string): Promise<void>
  loadInserted(file: string): Promise<void>
  saveBase(file: string, dtype: 'float32' | 'float16' | 'bfloat16', format: 'safetensors' | 'bin'): Promise<void>
  /** Names of tensors that namedParameters lists under another: that one and this, one pair after the other. */
  sharedNames(): string[]
  /**
   * Parameters under other names, one pair of the file's and ours after the other; a tensor of several is in safetensors once,
   * in PyTorch's format ('bin') under each.
   */
  saveState(
    file: string,
    dtype: 'float32' | 'float16' | 'bfloat16',
    format: 'safetensors' | 'bin',
    names: readonly string[]
  ): Promise<void>
  /** Such a file, or a folder: strict for `names` and for `required`, which are ours. */
  loadState(file: string, names: readonly string[], required: readonly string[]): Promise<void>
  /** The base model with its prefix, in that type, and the parts' tensors among its own, as they are. */
  saveWhole(
    file: string,
    dtype: 'float32' | 'float16' | 'bfloat16',
    adapters: readonly string[],
    fusions: readonly string[],
    heads: readonly string[]
  ): Promise<void>
  dispose(): void
}

/** A file of weights, or a model's folder with several. */
export interface WeightsSource {
  readonly path: string
  readonly bytes: number
}

export interface NativeFrozenStatesOptions {
  readonly folder: string
  /** What decides the layers' values beside the weights. */
  readonly model: string
  readonly maxBytes: number
  readonly dtype: 'float32' | 'bfloat16'
}

/** What a run with a frozen-layer cache read and computed. */
export interface FrozenLayerReport {
  /** Layers, from the first on, whose output was kept; 0: none. */
  readonly layers: number
  /** Rows whose states were read. */
  readonly rowsRead: number
  /** Rows whose states were computed, and kept where there was room. */
  readonly rowsComputed: number
  /** Of the folder. */
  readonly bytes: number
  /** Whether rows were not kept for want of room. */
  readonly full: boolean
}

export interface SystemInfo {
  readonly torchVersion: string
  readonly threads: number
  /** The CPU capability libtorch chose, such as `AVX512`. */
  readonly cpuCapability: string
  readonly devices: string[]
}

/** How the matrices of the base model are kept and multiplied. */
export type TrunkType = 'float32' | 'bfloat16'

/** Milliseconds that the same few products took. */
export type TrunkTimes = Readonly<Record<TrunkType, number>>

export interface Addon {
  version(): string
  systemInfo(): SystemInfo
  setNumThreads(count: number): void
  createModel(config: NativeModelConfig, device: string, trunk: TrunkType): NativeModel
  /** Times products of one layer's sizes both ways; once in a process for the same arguments. */
  probeTrunk(hiddenSize: number, intermediateSize: number, device: string): Promise<TrunkTimes>
  /**
   * Reads a torch.export archive, memory-mapped, and makes its graph ready to run. `attention`, `feedForward`: patterns of the
   * modules where adapters stand; '' for none, undefined for those that the graph shows.
   */
  openExported(
    path: string,
    device: string,
    output: string,
    pooling: 'automatic' | 'first' | 'last' | 'mean',
    attention: string | undefined,
    feedForward: string | undefined
  ): Promise<NativeExportedHandle>
  /** The model of such a handle, which gives one. `filePrefix`: in front of names in files of classes with a head. */
  createExported(handle: unknown, config: NativeModelConfig, filePrefix: string, device: string): NativeModel
  createTrainer(model: NativeModel, options: NativeTrainerOptions): Promise<NativeTrainer>
  /** Names, shapes and dtypes in a weights file; nothing is loaded. */
  readWeights(file: string): Promise<TensorInfo[]>
  /**
   * Rewrites an adapter or head file into another format and dialect; `name` is the new name of what it holds, null: the old,
   * which is `from`, where it is known.
   */
  convertWeights(
    source: string,
    target: string,
    format: WeightsFormat,
    dialect: KeyDialect,
    name: string | null,
    from?: string | null
  ): Promise<void>
  /** Stops the engine of this thread's environment for good. */
  shutdown(): void
}
