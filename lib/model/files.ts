import type { CompositionBlock, Fuse } from '../config/composition.js'
import { warnOfFusion } from '../exchange/library-differs.js'
import { Averages } from './average.js'
import { type ClassOptions, loadStateDict, loadWeights, stateDict } from './class-state.js'
import {
  type LoadAdapterOptions,
  type LoadHeadOptions,
  loadAdapter,
  loadHead,
  type SaveAdapterOptions,
  type SaveHeadOptions,
  type SavePretrainedOptions,
  saveAdapter,
  saveHead,
  savePretrained
} from './exchange.js'
import { type LoadFusionOptions, loadAdapterFusion, type SaveFusionOptions, saveAdapterFusion } from './fusion-files.js'
import { fusionNamed } from './fusions.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import type { AdapterSetup } from './setup.js'
import { type LoadSetupOptions, loadAdapterSetup, type SaveSetupOptions, saveAdapterSetup } from './setup-files.js'
import type { StateDict, StateValue } from './state-dict.js'
import { saveWhole } from './whole.js'

/** A model's calls that write and read folders, and values by name. */
export abstract class ModelFiles extends Averages {
  /** Throws where the model was disposed of. */
  protected abstract usable(operation: string): void
  /** For what changes weights that are there: not while rows are answered by them. */
  protected abstract rewritable(operation: string): void

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

  /**
   * Writes the folder of a head alone, as Python's `save_head` does: head_config.json and the weights, in safetensors unless
   * `format` says otherwise. The head of an archive's class is refused (ERR_UNSUPPORTED): the archive holds it.
   */
  async saveHead(folder: string, name: string, options: SaveHeadOptions = {}): Promise<void> {
    this.usable('saveHead')
    await saveHead(this.#model, folder, name, options)
  }

  /**
   * Loads the head of a folder or hub id; gives its name here: `as`, or the folder's own. An `AdapterError` tells a folder
   * without a head, or one for a model of other sizes; a TypeError a name that is taken (unless `overwriteOk`).
   */
  async loadHead(source: string, options: LoadHeadOptions = {}): Promise<string> {
    this.configurable('loadHead')
    return await loadHead(this.#model, source, options)
  }

  /**
   * Writes the base model: config.json, model.safetensors and, where there is one, the tokenizer. Names are those of the bare
   * class (GPT2Model), or of the class that `modelClass` names, with its head.
   */
  async savePretrained(folder: string, options: SavePretrainedOptions = {}): Promise<void> {
    this.usable('savePretrained')
    await savePretrained(this.#model, folder, options)
  }

  /**
   * Copies of all values by their names in namedParameters, and of a tensor in several places under each of its names: PyTorch's
   * state_dict. With `modelClass` those of a class of transformers, which loads them with strict=True, after the same surgery.
   */
  stateDict(options: ClassOptions = {}): Map<string, StateValue> {
    this.usable('stateDict')
    return stateDict(this.#model, options)
  }

  /**
   * Loads weights into this model, which has had the surgery that they have: a file, or a model's folder, of savePretrained or of
   * PyTorch's state_dict, under the names of the bare class, of a class with a head (`modelClass`; a folder's config.json names
   * it), or those of namedParameters. Missing, unexpected and misshaped names are one error, and nothing has changed then.
   */
  async loadWeights(path: string, options: ClassOptions = {}): Promise<void> {
    this.rewritable('loadWeights')
    await loadWeights(this.#model, path, options)
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
    this.rewritable('loadStateDict')
    loadStateDict(this.#model, values)
  }

  /**
   * Writes the folder of an AdapterFusion, as Python's `save_adapter_fusion` does; its adapters have folders of their own.
   * @param fusion its name, or the adapters or block that it was added for
   */
  async saveAdapterFusion(
    folder: string,
    fusion: string | readonly string[] | Fuse,
    options: SaveFusionOptions = {}
  ): Promise<void> {
    this.usable('saveAdapterFusion')
    const name = fusionNamed('saveAdapterFusion', fusion)
    await saveAdapterFusion(this.#model, folder, name, options)
    const { adapterFusions, adapters, config } = this.#model
    warnOfFusion(name, adapterFusions.get(name)?.adapters ?? [], adapters, config)
  }

  /** Loads the AdapterFusion of a folder or hub id, whose adapters must be there already; gives its name here. */
  async loadAdapterFusion(source: string, options: LoadFusionOptions = {}): Promise<string> {
    this.configurable('loadAdapterFusion')
    return await loadAdapterFusion(this.#model, source, options)
  }

  /**
   * Writes a whole setup: a folder for each of its adapters, fusions and heads, and how they stand together. Python's
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

  /**
   * Loads the folder of a whole setup with its heads; gives the setup, for setActiveAdapters or a call. With `setActive` it runs
   * where a call names nothing, and the head that the folder names answers.
   */
  async loadAdapterSetup(folder: string, options: LoadSetupOptions = {}): Promise<CompositionBlock> {
    this.configurable('loadAdapterSetup')
    return await loadAdapterSetup(this.#model, folder, options)
  }
}
