import type { CompositionBlock } from '../config/composition.js'
import { nativeCall } from '../native/errors.js'
import { Averages } from './average.js'
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
import { type LoadFusionOptions, loadAdapterFusion, type SaveFusionOptions, saveAdapterFusion } from './fusion-files.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import type { AdapterSetup } from './setup.js'
import { type LoadSetupOptions, loadAdapterSetup, type SaveSetupOptions, saveAdapterSetup } from './setup-files.js'
import { checkStateDict, type StateDict } from './state-dict.js'
import { saveWhole } from './whole.js'

/** A model's calls that write and read folders, and values by name. */
export abstract class ModelFiles extends Averages {
  /** Throws where the model was disposed of. */
  protected abstract usable(operation: string): void

  get #model(): Model {
    return this as unknown as Model
  }

  /** Writes an AdapterHub folder, which Python's `adapters` loads. */
  async saveAdapter(folder: string, name: string, options: SaveAdapterOptions = {}): Promise<void> {
    this.usable('saveAdapter')
    await saveAdapter(this.#model, folder, name, options)
  }

  /** Loads an AdapterHub folder or hub id, with its head; gives the adapter's name here. */
  async loadAdapter(source: string, options: LoadAdapterOptions = {}): Promise<string> {
    this.configurable('loadAdapter')
    return await loadAdapter(this.#model, source, options)
  }

  /** Writes the folder of a head alone, as Python's `save_head` does. */
  async saveHead(folder: string, name: string, options: SaveHeadOptions = {}): Promise<void> {
    this.usable('saveHead')
    await saveHead(this.#model, folder, name, options)
  }

  /** Loads the head of a folder or hub id; gives its name here. */
  async loadHead(source: string, options: LoadHeadOptions = {}): Promise<string> {
    this.configurable('loadHead')
    return await loadHead(this.#model, source, options)
  }

  /** Writes the base model: config.json, model.safetensors and, where there is one, the tokenizer. */
  async savePretrained(
    folder: string,
    options: { readonly dtype?: 'float32' | 'float16' | 'bfloat16' } = {}
  ): Promise<void> {
    this.usable('savePretrained')
    checkOptions(options, ['dtype'])
    await savePretrained(this.#model, folder, options.dtype ?? 'float32')
  }

  /**
   * Writes the whole model with its adapters, fusions and heads, and what is active: a folder for AutoModel, and for
   * `from_pretrained` of Python's `*AdapterModel` classes.
   */
  async save(folder: string, options: { readonly dtype?: 'float32' | 'float16' | 'bfloat16' } = {}): Promise<void> {
    this.usable('save')
    checkOptions(options, ['dtype'])
    await saveWhole(this.#model, folder, options.dtype ?? 'float32')
  }

  /**
   * Copies values into parameters by name, from a Map or an object with a field a name; unknown names and wrong shapes are
   * one error.
   */
  loadStateDict(values: StateDict): void {
    this.configurable('loadStateDict')
    const checked = checkStateDict(values)
    nativeCall(() => this.#model.native.setParameters(checked))
  }

  /** Writes the folder of an AdapterFusion, as Python's `save_adapter_fusion` does; its adapters have folders of their own. */
  async saveAdapterFusion(folder: string, name: string, options: SaveFusionOptions = {}): Promise<void> {
    this.usable('saveAdapterFusion')
    await saveAdapterFusion(this.#model, folder, name, options)
  }

  /** Loads the AdapterFusion of a folder or hub id, whose adapters must be there already; gives its name here. */
  async loadAdapterFusion(source: string, options: LoadFusionOptions = {}): Promise<string> {
    this.configurable('loadAdapterFusion')
    return await loadAdapterFusion(this.#model, source, options)
  }

  /**
   * Writes a whole setup: a folder for each of its adapters and fusions, and how they stand together. Python's
   * `load_adapter_setup` reads it.
   */
  async saveAdapterSetup(
    folder: string,
    setup: Exclude<AdapterSetup, null>,
    options: SaveSetupOptions = {}
  ): Promise<void> {
    this.usable('saveAdapterSetup')
    await saveAdapterSetup(this.#model, folder, setup, options)
  }

  /** Loads the folder of a whole setup; gives the setup, for setActiveAdapters or a call. */
  async loadAdapterSetup(folder: string, options: LoadSetupOptions = {}): Promise<CompositionBlock> {
    this.configurable('loadAdapterSetup')
    return await loadAdapterSetup(this.#model, folder, options)
  }
}
