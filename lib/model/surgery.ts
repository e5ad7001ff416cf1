import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import * as check from '../config/check.js'
import {
  type AdapterLayerModule,
  type AdapterLayerOptions,
  adapterLayer,
  checkModule,
  type ExistingModule,
  existingModule,
  type ModuleDescription,
  nativeModule,
  parallel,
  sequential
} from '../config/module-description.js'
import { didYouMean } from '../config/nearest.js'
import { pathPattern } from '../config/path-pattern.js'
import { surgeryFile, weightsSource } from '../exchange/folder-files.js'
import { makeOutput } from '../exchange/write-folder.js'
import { AdapterError, nativeCall, withErrors } from '../native/errors.js'
import type { ModuleInfo, NativeModuleInfo, ParameterInfo, WeightsSource } from '../native/types.js'
import type { Model } from './model.js'
import { moduleType } from './module-type.js'
import { ModelNames } from './names.js'
import { withReason } from './no-place.js'
import { checkOptions } from './options.js'
import { inBase, type Replaced, readSurgery, surgeryToJson, writeSurgery } from './surgery-record.js'

const weightsFile = 'inserted_modules.safetensors'

// What holds adapters is no part of the base model: a pattern passes it by.
const holdsAdapters =
  /(^|\.)(adapters|adapter_fusion_layer|(attention|output)_adapters|loras|prefix_tuning|prompt_tuning|reft_layer|shared_parameters)(\.|$)/

const patternForm =
  "a pattern such as 'transformer.h.*.mlp' (* is any text of one name, ** any number of names; no regular expression)"

/** From the module that stands in a place to the one that is to stand there. */
export type MakeModule = (module: ExistingModule, path: string) => ModuleDescription

/** What an operation replaced, and the way back. */
export interface Replacement {
  readonly paths: readonly string[]
  /** Each place with what it was given. */
  readonly replaced: readonly Replaced[]
  readonly undone: boolean
  /** Puts back what stood there before, bit for bit. Replacements inside of it must be undone first. */
  undo(): void
}

/** A model's calls that replace modules by their paths. */
export abstract class ModelSurgery extends ModelNames {
  #operations: Replacement[] = []

  /** A seed for what has this name. */
  protected abstract seedFor(name: string): number
  /** Parameters have other names, and there may be others. */
  protected abstract renamed(): void

  get #surgeon(): Model {
    return this as unknown as Model
  }

  /** The module at a path, to be part of what stands elsewhere or to be looked at. */
  getSubmodule(path: string): ExistingModule {
    this.usable('getSubmodule')
    if (check.checkString('path', path) === '')
      throw check.valueError('path', 'the model itself is not replaced; namedModules() lists the paths of its modules')
    const modules = this.#modules()
    const found = modules.find((module) => module.path === path)
    if (found !== undefined) return existingModule(path, found.type)
    const paths = modules.map((module) => module.path).filter((each) => each !== '')
    throw check.valueError(
      'path',
      `there is no module '${path}'; namedModules() lists the paths.${didYouMean(path, paths)}`
    )
  }

  /**
   * Puts what `make` gives in the place of the module at this path. New modules start from the model's seed; they train
   * after freezeBaseModel(), freeze(…) or trainAll().
   */
  replaceModule(path: string, make: MakeModule): Replacement {
    this.rewritable('replaceModule')
    return this.#replace([this.getSubmodule(path)], make)
  }

  /**
   * The same at every place that matches, in one operation, and never inside of one: a pattern such as
   * `bert.encoder.layer.*.attention.self.query`, or paths. A pattern takes a place with several paths, in a module that
   * stands in several places, once, by the first; paths name it once. In an exported network a pattern that matches a module
   * and one inside of it is an error.
   */
  replaceModules(places: string | readonly string[], make: MakeModule): Replacement {
    this.rewritable('replaceModules')
    if (typeof places === 'string') return this.#replace(this.#matches(places), make)
    if (!Array.isArray(places)) throw check.typeError('places', `${patternForm}, or an array of paths`, places)
    return this.#replace(
      check.checkArray('places', places).map((path) => this.getSubmodule(path as string)),
      make
    )
  }

  /** Takes the last replacement back; false where there is none. */
  undo(): boolean {
    this.rewritable('undo')
    const last = this.#operations.at(-1)
    last?.undo()
    return last !== undefined
  }

  /**
   * Writes the record of what was replaced, `surgery.json`, and what surgery inserted: `inserted_modules.safetensors` under
   * the names of the state dict. A folder of a few megabytes beside any copy of the base model; without the second file
   * where modules of the model itself only took other places.
   */
  async saveSurgery(folder: string): Promise<void> {
    this.usable('saveSurgery')
    check.checkNonEmptyString('folder', folder)
    if (inBase(this.#operations).length === 0) throw nothingReplaced(this.#operations.length > 0)
    makeOutput(folder, 'save the surgery')
    const file = join(folder, weightsFile)
    if (this.hasInsertedModules) await nativeCall(() => this.#surgeon.native.saveInserted(file))
    else rmSync(file, { force: true })
    writeSurgery(folder, this.#operations)
  }

  /** Does the surgery of such a folder and loads what it inserted; a model that had the same surgery already is loaded into. */
  async loadSurgery(folder: string): Promise<void> {
    this.rewritable('loadSurgery')
    const operations = readSurgery(check.checkNonEmptyString('folder', folder))
    const file = join(folder, weightsFile)
    if (operations.length === 0 && !existsSync(file)) throw noSurgeryHere(folder)
    const done: Replacement[] = []
    try {
      if (this.#operations.length === 0) {
        for (const replaced of operations) done.push(this.repeatSurgery(replaced, weightsSource(file)))
      }
      const hasWeights = operations.length === 0 || this.hasInsertedModules || existsSync(file)
      if (hasWeights) await nativeCall(() => this.#surgeon.native.loadInserted(file))
      else checkSameSurgery(folder, this.#operations, operations)
    } catch (error) {
      for (const operation of done.reverse()) operation.undo()
      throw error
    }
  }

  /** What was replaced and not undone, in order. */
  get replacements(): readonly Replacement[] {
    return [...this.#operations]
  }

  /** What was done inside a part that is gone: there is nothing to undo. */
  protected forgetSurgery(inside: string): void {
    this.#operations = this.#operations.filter(({ paths }) => !paths.every((path) => path.startsWith(inside)))
  }

  /** @internal Whether surgery put something new into the base model. */
  get hasInsertedModules(): boolean {
    return this.#surgeon.namedParameters().some(({ name, part }) => part === 'inserted' && !name.startsWith('heads.'))
  }

  /**
   * @internal A replaced place inside of which one of these parameters stands: it has another name than in a model without
   * that surgery. Undefined where there is none.
   */
  renamedBySurgery(isAsked: (parameter: ParameterInfo) => boolean): string | undefined {
    const around = this.#operations.flatMap(({ replaced }) =>
      replaced.flatMap(({ path, module }) => (module.kind === 'module' ? [] : [path]))
    )
    if (around.length === 0) return undefined
    const names = this.#surgeon.namedParameters().flatMap((one) => (isAsked(one) ? [one.name] : []))
    return around.find((path) => names.some((name) => name.startsWith(`${path}.`)))
  }

  #modules(): NativeModuleInfo[] {
    const { native, config } = this.#surgeon
    return nativeCall(() => native.namedModules()).map((one) => ({ ...one, type: moduleType(config, one) }))
  }

  // The outermost ones: what is below a match goes with it.
  #matches(pattern: string): ExistingModule[] {
    const isMatch = pathPattern(check.checkNonEmptyString('pattern', pattern))
    const modules = this.#modules()
    const isOurs = ({ path, beside }: NativeModuleInfo) =>
      this.#surgeon.config.exported === null ? holdsAdapters.test(path) : beside
    const found = modules.filter((module) => isMatch(module.path) && !isOurs(module))
    if (found.length === 0) {
      const some = modules.flatMap(({ path, replaceable }) => (replaceable ? [path] : [])).slice(0, 4)
      throw check.valueError('pattern', `no module matches '${pattern}'; there are ${some.join(', ')}, …`)
    }
    const paths = new Set(found.map(({ path }) => path))
    const inner = found.find(({ path }) => parents(path).some((parent) => paths.has(parent)))
    if (inner !== undefined && this.#surgeon.config.exported !== null) {
      const outer = parents(inner.path).find((parent) => paths.has(parent))
      throw check.valueError(
        'pattern',
        `'${pattern}' matches '${outer}' and '${inner.path}' inside of it; give a narrower one, or paths`
      )
    }
    const outermost = found.filter(({ path }) => !parents(path).some((parent) => paths.has(parent)))
    // A place with several paths counts once, as in PyTorch's named_modules.
    const taken = new Set<string>()
    return outermost.flatMap(({ path, type, firstPath }) => {
      if (taken.has(firstPath)) return []
      taken.add(firstPath)
      return [existingModule(path, type)]
    })
  }

  #replace(modules: readonly ExistingModule[], make: MakeModule): Replacement {
    if (typeof make !== 'function') throw check.typeError('replaceModule', 'a function from module to module', make)
    if (modules.length === 0) throw check.valueError('replaceModules', 'expected at least one path')
    const replaced = modules.map((module) => ({
      path: module.path,
      module: checkModule(`the module for '${module.path}'`, make(module, module.path))
    }))
    return this.#operate(replaced)
  }

  /** @internal The same surgery again, whose weights then come from a folder. */
  repeatSurgery(replaced: readonly Replaced[], source: WeightsSource): Replacement {
    this.rewritable('replaceModule')
    return this.#operate(replaced, source)
  }

  #operate(replaced: readonly Replaced[], source?: WeightsSource): Replacement {
    const native = replaced.map(({ path, module }) => ({ path, with: nativeModule(module) }))
    const seed = this.seedFor(`module ${replaced[0]?.path}`)
    const { config, native: core } = this.#surgeon
    const number = withErrors(
      () => nativeCall(() => core.replaceModules(native, seed, source)),
      (error) => (config.exported === null ? error : withReason(error, () => this.#modules()))
    )
    let undone = false
    const operation: Replacement = Object.freeze({
      paths: Object.freeze(replaced.map(({ path }) => path)),
      replaced: Object.freeze([...replaced]),
      get undone() {
        return undone
      },
      undo: () => {
        this.rewritable('undo')
        if (undone) throw new AdapterError('ERR_INVALID_ARGUMENT', 'undo', 'this replacement was undone before')
        nativeCall(() => this.#surgeon.native.undoReplacement(number))
        undone = true
        this.#operations = this.#operations.filter((other) => other !== operation)
        this.renamed()
      }
    })
    this.#operations.push(operation)
    this.renamed()
    return operation
  }
}

const noSurgeryHere = (folder: string): AdapterError =>
  new AdapterError('ERR_FILE_NOT_FOUND', 'loadSurgery', `${folder} holds no surgery`, {
    expected: `${surgeryFile} and ${weightsFile}, as saveSurgery writes them`,
    hint: 'Check the path.'
  })

function nothingReplaced(inHead: boolean): AdapterError {
  const hint = inHead
    ? 'For what stands in a head take stateDict(), and loadStateDict after the same surgery'
    : 'Call replaceModule or addAdaptersToModel before'
  return new AdapterError('ERR_INVALID_ARGUMENT', 'saveSurgery', 'surgery has replaced nothing in the base model', {
    hint
  })
}

/** Where there are no weights whose names would tell. */
function checkSameSurgery(
  folder: string,
  done: readonly Replacement[],
  wanted: readonly (readonly Replaced[])[]
): void {
  const records = [inBase(done), wanted.map((replaced) => ({ replaced }))].map(surgeryToJson)
  if (isDeepStrictEqual(records[0], records[1])) return
  const paths = (of: readonly { readonly replaced: readonly Replaced[] }[]) =>
    check.quoted(of.flatMap(({ replaced }) => replaced.map(({ path }) => path)))
  throw new AdapterError('ERR_STATE_DICT', 'loadSurgery', `the model had another surgery than that of ${folder}`, {
    expected: `the one of ${folder}, at ${paths(wanted.map((replaced) => ({ replaced })))}`,
    got: paths(done),
    hint: 'Undo it first (model.undo()), or load into a model without one.'
  })
}

function parents(path: string): string[] {
  const names = path.split('.')
  return names.slice(1).map((_, i) => names.slice(0, i + 1).join('.'))
}

export interface AddAdaptersOptions extends Omit<AdapterLayerOptions, 'hiddenSize'> {
  /** Which modules: `*` is any name, `**` any number of them. Default 'transformer.h.*.mlp'. */
  readonly pattern?: string | undefined
  /** Default: the model's. */
  readonly hiddenSize?: number | undefined
  /**
   * Behind the module, in front of it, or beside it: what the adapter makes of the module's input, without its residual, is
   * added to the module's output. Default 'after'.
   */
  readonly position?: AdapterPosition | undefined
  /** What counts of an adapter beside a module. Default 1. */
  readonly scale?: number | undefined
}

export type AdapterPosition = 'after' | 'before' | 'parallel'

/**
 * Puts an adapter of its own at every module that matches: the module itself becomes Sequential(module, adapter),
 * Sequential(adapter, module) or Parallel(module, adapter), never its children. Names are those that the same surgery gives
 * in PyTorch: `….mlp.0.…` and `….mlp.1.down_project.weight`; beside it `….mlp.module.…` and `….mlp.adapter.down_project.weight`.
 */
export function addAdaptersToModel(model: Model, options: AddAdaptersOptions): Replacement {
  const { pattern, layer, place } = adaptersOf('addAdaptersToModel', model, options)
  return model.replaceModules(pattern, (module) => place(module, adapterLayer(layer)))
}

/** One adapter at every module that matches: one set of tensors, whose gradients are summed. */
export function addSharedAdapter(model: Model, options: AddAdaptersOptions): Replacement {
  const { pattern, layer, place } = adaptersOf('addSharedAdapter', model, options)
  const shared = adapterLayer(layer)
  return model.replaceModules(pattern, (module) => place(module, shared))
}

interface WantedAdapters {
  readonly pattern: string
  readonly layer: AdapterLayerOptions
  readonly place: (module: ExistingModule, adapter: AdapterLayerModule) => ModuleDescription
}

function adaptersOf(operation: string, model: Model, options: AddAdaptersOptions): WantedAdapters {
  checkOptions(options, ['pattern', 'hiddenSize', 'adapterSize', 'activation', 'compat', 'position', 'scale'])
  const { pattern = 'transformer.h.*.mlp', hiddenSize = model.config.hiddenSize, position, scale, ...layer } = options
  if (typeof pattern !== 'string') throw check.typeError('pattern', patternForm, pattern)
  const where = check.checkOneOf('position', position ?? 'after', ['after', 'before', 'parallel'] as const)
  if (scale !== undefined && where !== 'parallel') {
    throw check.valueError('scale', `an adapter ${where} a module counts as it is; give position 'parallel'`)
  }
  const places = {
    after: (module: ExistingModule, adapter: AdapterLayerModule) => sequential(module, adapter),
    before: (module: ExistingModule, adapter: AdapterLayerModule) => sequential(adapter, module),
    parallel: (module: ExistingModule, adapter: AdapterLayerModule) => parallel(module, adapter, { scale })
  }
  const fits = sizeCheck(operation, model, where, hiddenSize)
  const place: WantedAdapters['place'] = (module, adapter) => {
    fits(module.path)
    return places[where](module, adapter)
  }
  return { pattern, layer: { hiddenSize, ...layer }, place }
}

const sidesRead = { after: ['gives'], before: ['takes'], parallel: ['takes', 'gives'] } as const

/** Checks that an adapter of this size can stand at the module of a path, as far as the module's sizes are known. */
function sizeCheck(operation: string, model: Model, where: AdapterPosition, hiddenSize: number) {
  let modules: Map<string, ModuleInfo> | undefined
  return (path: string): void => {
    modules ??= new Map(model.namedModules(undefined, { shapes: true }).map((one) => [one.path, one]))
    const info = modules.get(path)
    const sizes = { takes: info?.inputs[0]?.at(-1), gives: info?.outputs[0]?.at(-1) }
    if (where === 'parallel') checkSquare(operation, path, sizes)
    for (const side of sidesRead[where]) {
      const size = sizes[side]
      if (typeof size !== 'number' || size === hiddenSize || !Number.isInteger(hiddenSize)) continue
      throw new AdapterError(
        'ERR_INVALID_ARGUMENT',
        operation,
        `an adapter of this hiddenSize does not fit '${path}'`,
        {
          expected: `hiddenSize ${size}, as many features as the module ${side}`,
          got: String(hiddenSize),
          hint: `Give hiddenSize: ${size}, or another pattern.`
        }
      )
    }
  }
}

interface Sizes {
  readonly takes: number | string | undefined
  readonly gives: number | string | undefined
}

/** What an adapter gives is added to what the module beside it gives, and has the size of what both take. */
function checkSquare(operation: string, path: string, { takes, gives }: Sizes): void {
  if (typeof takes !== 'number' || typeof gives !== 'number' || takes === gives) return
  throw new AdapterError('ERR_INVALID_ARGUMENT', operation, `no adapter can stand in parallel to '${path}'`, {
    expected: 'a module that gives as many features as it takes',
    got: `${takes} features in, ${gives} out`,
    hint: "Give position 'before' or 'after', or another pattern."
  })
}

/** Freezes the base model; what was added to it trains: adapters, heads, and all that surgery inserted. */
export function freezeBaseModel(model: Model): void {
  model.freezeBaseModel()
}
