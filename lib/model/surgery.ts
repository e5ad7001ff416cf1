import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import * as check from '../config/check.js'
import {
  checkModule,
  type ExistingModule,
  existingModule,
  type ModuleDescription,
  nativeModule
} from '../config/module-description.js'
import { didYouMean } from '../config/nearest.js'
import { pathPattern } from '../config/path-pattern.js'
import { surgeryFile, weightsSource } from '../exchange/folder-files.js'
import { makeOutput } from '../exchange/write-folder.js'
import { AdapterError, nativeCall, withErrors } from '../native/errors.js'
import type { NativeModuleInfo, ParameterInfo, WeightsSource } from '../native/types.js'
import type { Model } from './model.js'
import { moduleType } from './module-type.js'
import { ModelNames } from './names.js'
import { withReason } from './no-place.js'
import { inBase, type Replaced, readSurgery, surgeryToJson, writeSurgery } from './surgery-record.js'

const weightsFile = 'inserted_modules.safetensors'

// What holds adapters is no part of the base model: a pattern passes it by.
const holdsAdapters =
  /(^|\.)(adapters|adapter_fusion_layer|(attention|output)_adapters|loras|prefix_tuning|prompt_tuning|reft_layer|shared_parameters)(\.|$)/

export const patternForm =
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
