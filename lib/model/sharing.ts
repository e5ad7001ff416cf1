import * as check from '../config/check.js'
import type { MultiTask } from '../config/composition.js'
import { MtlLoraConfig } from '../config/lora-config.js'
import type { SharedGroup } from '../exchange/shared-group.js'
import { nativeCall } from '../native/errors.js'
import { TextWriter } from './generate.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import { checkKnown } from './setup.js'

export interface ShareParametersOptions {
  /** What unshareParameters calls them. Default: the names, with commas between. */
  readonly name?: string | undefined
  /** Whose values all of them have from now on. Default: the first. */
  readonly reference?: string | undefined
}

/** Adapters of several tasks, which may have A and the up-projections of MTL-LoRA in common. */
export abstract class ParameterSharing extends TextWriter {
  readonly #groups = new Map<string, readonly string[]>()

  /**
   * MTL-LoRA adapters of one config get one A and one set of up-projections for all, the reference's; the task's matrix and the
   * weights of the up-projections stay each one's own. They train while one of the adapters trains. Every adapter's folder
   * holds them and names the group: once all of it is loaded, it shares again. So does a model that `save` wrote.
   * @param adapters names, or a MultiTask block of names
   * @returns the name of the group
   */
  shareParameters(adapters: readonly string[] | MultiTask, options: ShareParametersOptions = {}): string {
    this.configurable('shareParameters')
    const model = this as unknown as Model
    checkOptions(options, ['name', 'reference'])
    const isBlock = check.isPlainObject(adapters) && 'children' in adapters
    const names = isBlock ? (adapters as MultiTask).children : check.checkArray('adapters', adapters)
    const known = names.map((name, i) => checkKnown(`adapters[${i}]`, name, model.adapters))
    if (known.length < 2 || new Set(known).size < known.length) {
      throw check.rangeError('adapters', 'two or more names, each once', adapters)
    }
    const reference = options.reference ?? (known[0] as string)
    if (!known.includes(reference)) throw check.rangeError('reference', `one of ${check.quoted(known)}`, reference)
    checkAlike(model, known)
    const group = check.checkNonEmptyString('name', options.name ?? known.join(','))
    if (isSameGroup(this.#groups.get(group), known)) return group
    nativeCall(() => model.native.shareParameters(group, known, reference))
    this.#groups.set(group, known)
    return group
  }

  /**
   * Each of the group's adapters has its own again, with the values that they had in common.
   * @param of the group's name, or the names of its adapters as they were given
   */
  unshareParameters(of: string | readonly string[]): void {
    this.configurable('unshareParameters')
    const model = this as unknown as Model
    const group = typeof of === 'string' ? of : check.checkArray('adapters', of).join(',')
    checkKnown('unshareParameters', group, this.#groups)
    nativeCall(() => model.native.unshareParameters(group))
    this.#groups.delete(group)
  }

  /** The groups of adapters that share parameters, by name. */
  get sharedParameters(): ReadonlyMap<string, readonly string[]> {
    return this.#groups
  }
}

const isSameGroup = (known: readonly string[] | undefined, names: readonly string[]): boolean =>
  known?.length === names.length && names.every((name) => known.includes(name))

/** For folders: which of a model's adapters have parameters in common. */
export function sharedGroups(model: Model): readonly SharedGroup[] {
  return [...model.sharedParameters].map(([name, adapters]) => ({ name, adapters }))
}

/**
 * Adapters that were saved together share again when all of them are here with the values that they had in common. One that
 * has since learned alone stays apart: a folder's adapter computes what the folder says.
 */
export function shareAgain(model: Model, { name, adapters }: SharedGroup): void {
  const [first = '', ...others] = adapters
  const taken =
    adapters.includes(model.mergedAdapter ?? '') ||
    [...model.sharedParameters].some(([group, names]) => group === name || adapters.some((one) => names.includes(one)))
  if (taken || others.length === 0 || !adapters.every((adapter) => model.adapters.has(adapter))) return
  if (differing(model, adapters) !== undefined || !haveSameValues(model, first, others)) return
  model.shareParameters(adapters, { name })
}

function haveSameValues(model: Model, first: string, others: readonly string[]): boolean {
  const ofFirst = (name: string) => ['lora_A', 'lora_B'].some((part) => name.endsWith(`.loras.${first}.${part}`))
  const shared = model.namedParameters().filter(({ name }) => ofFirst(name))
  const bytes = (name: string) => {
    const { buffer, byteOffset, byteLength } = model.parameter(name).data
    return Buffer.from(buffer, byteOffset, byteLength)
  }
  return shared.every(({ name }) => {
    const values = bytes(name)
    const at = name.lastIndexOf(`.${first}.`)
    return others.every((other) => {
      return values.equals(bytes(`${name.slice(0, at)}.${other}${name.slice(at + first.length + 1)}`))
    })
  })
}

/** What the core cannot see: fields that no tensor's shape depends on. */
function checkAlike(model: Model, names: readonly string[]): void {
  const problem = differing(model, names)
  if (problem !== undefined) throw check.valueError('shareParameters', problem)
}

function differing(model: Model, names: readonly string[]): string | undefined {
  const configs = names.map((name) => model.adapters.get(name))
  const other = configs.findIndex((config) => !(config instanceof MtlLoraConfig))
  if (other >= 0) {
    const message = `'${names[other]}' is not MTL-LoRA, whose adapters have something to share`
    return `${message}; add it with the config 'mtl_lora'`
  }
  const aside = new Set(['init_weights', 'init_weights_seed'])
  const texts = configs.map((config) => JSON.stringify(config, (key, value) => (aside.has(key) ? undefined : value)))
  const different = texts.findIndex((text) => text !== texts[0])
  return different < 0 ? undefined : `'${names[0]}' and '${names[different]}' have different configs`
}
