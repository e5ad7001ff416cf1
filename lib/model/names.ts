import * as check from '../config/check.js'
import { didYouMean } from '../config/nearest.js'
import { pathPattern } from '../config/path-pattern.js'
import { nativeCall } from '../native/errors.js'
import type { ModuleInfo, NativeModel, ParameterInfo } from '../native/types.js'
import { ModelFiles } from './files.js'
import type { Model } from './model.js'
import { moduleType } from './module-type.js'
import { checkOptions } from './options.js'
import type { Tensor } from './outputs.js'
import { isBaseParameter } from './summary.js'

/** A model's modules and parameters by PyTorch's names. */
export abstract class ModelNames extends ModelFiles {
  get #native(): NativeModel {
    return (this as unknown as Model).native
  }

  /**
   * Module paths in PyTorch's order; with a pattern (`bert.encoder.layer.*.output.dense`) those that match. Of an exported network
   * its own, and what surgery put there.
   */
  namedModules(pattern?: string): string[]
  /** With the class of each module and the shapes of what goes in and comes out. */
  namedModules(pattern: string | undefined, options: { readonly shapes: true }): ModuleInfo[]
  namedModules(pattern?: string, options: { readonly shapes?: boolean } = {}): string[] | ModuleInfo[] {
    this.usable('namedModules')
    checkOptions(options, ['shapes'])
    const isWanted = pattern === undefined ? () => true : pathPattern(check.checkString('pattern', pattern))
    const { config } = this as unknown as Model
    const modules = nativeCall(() => this.#native.namedModules()).flatMap(({ beside, firstPath, ...module }) =>
      beside || !isWanted(module.path) ? [] : [{ ...module, type: moduleType(config, module) }]
    )
    return options.shapes ? modules : modules.map(({ path }) => path)
  }

  /** Every parameter once, in PyTorch's order, with its shape and whether it trains. */
  namedParameters(): ParameterInfo[] {
    this.usable('namedParameters')
    return nativeCall(() => this.#native.namedParameters())
  }

  /** Freezes the base model; adapters, heads and what surgery inserted train. */
  freezeBaseModel(): void {
    const base = new Set(this.baseNames())
    this.freeze((name) => base.has(name))
  }

  abstract freeze(isFrozen: (name: string) => boolean): void

  protected baseNames(): string[] {
    return this.namedParameters().flatMap((parameter) => (isBaseParameter(parameter) ? [parameter.name] : []))
  }

  /** A copy of one parameter's values. */
  parameter(name: string): Tensor {
    this.usable('parameter')
    check.checkString('name', name)
    try {
      return nativeCall(() => this.#native.parameter(name))
    } catch (error) {
      const names = this.namedParameters().map((parameter) => parameter.name)
      if (names.includes(name)) throw error
      const hint = didYouMean(name, names) || ' namedParameters() lists them.'
      throw check.valueError('name', `the model has no parameter '${name}'.${hint}`)
    }
  }
}
