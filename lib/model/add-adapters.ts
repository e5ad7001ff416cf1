import * as check from '../config/check.js'
import {
  type AdapterLayerModule,
  type AdapterLayerOptions,
  adapterLayer,
  type ExistingModule,
  type ModuleDescription,
  parallel,
  sequential
} from '../config/module-description.js'
import { AdapterError } from '../native/errors.js'
import type { ModuleInfo } from '../native/types.js'
import { checkModel } from './check-model.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import { patternForm, type Replacement } from './surgery.js'

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
  checkModel(model)
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
  checkModel(model)
  model.freezeBaseModel()
}
