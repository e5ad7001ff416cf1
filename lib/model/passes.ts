import type { HeadConfig } from '../config/head-config.js'
import type { Row } from '../data/dataset.js'
import { labelsTokens } from '../data/labels.js'
import { nativeCall } from '../native/errors.js'
import type { NativeForwardOptions, TensorData } from '../native/types.js'
import { TextWriter } from './generate.js'
import { type ForwardInputs, packInputs, repeatInputs } from './inputs.js'
import type { Model } from './model.js'
import { checkOptions, type ForwardOptions, type PredictOptions } from './options.js'
import { type ForwardOutputs, layOut } from './outputs.js'
import { type Prediction, predict } from './predict.js'
import { type BatchRows, channelCount, checkKnown, nativeSetups, type RowAdapters } from './setup.js'
import { skippedLayers } from './skip-layers.js'

interface ChosenHead {
  readonly name: string | null
  readonly config: HeadConfig | undefined
}

function headFor(model: Model, name: string | null | undefined): ChosenHead {
  const chosen = name === undefined ? model.activeHead : name
  if (chosen === null) return { name: null, config: undefined }
  checkKnown('head', chosen, model.heads)
  return { name: chosen, config: model.heads.get(chosen) }
}

const adaptersOf = (model: Model, { adapters = model.activeAdapters }: ForwardOptions): RowAdapters => adapters

/** What the core is told about one pass beside its batch. */
export function passOptions(model: Model, options: ForwardOptions, batch: BatchRows): NativeForwardOptions {
  const hidden = options.outputHiddenStates ?? false
  return {
    ...nativeSetups(adaptersOf(model, options), batch, model.known),
    head: headFor(model, options.head).name,
    skipLayers: skippedLayers(model, options),
    outputHiddenStates: hidden,
    outputLastHiddenState: hidden
  }
}

/** What one pass over a batch needs, and the config of its head. */
function passOf(model: Model, inputs: ForwardInputs, options: ForwardOptions) {
  const { config } = headFor(model, options.head)
  const given = packInputs(inputs, model.config, config)
  const packed = repeatInputs(given, channelCount(adaptersOf(model, options)))
  return { packed, native: passOptions(model, options, { rows: given.rows, taskIds: options.taskIds }), config }
}

/** A model's passes over a batch. */
export abstract class ModelPasses extends TextWriter {
  get #model(): Model {
    return this as unknown as Model
  }

  async forward(inputs: ForwardInputs, options: ForwardOptions = {}): Promise<ForwardOutputs> {
    this.usable('forward')
    checkOptions(options, ['adapters', 'head', 'outputHiddenStates', 'taskIds', 'skipLayers'])
    const { packed, native, config } = passOf(this.#model, inputs, options)
    const result = await nativeCall(() => this.#model.native.forward(packed.batch, native))
    return layOut(result, packed, config !== undefined && labelsTokens(config))
  }

  /** Answers rows of text or ids, in their order. */
  async predict(rows: readonly (Row | string)[], options: PredictOptions = {}): Promise<Prediction[]> {
    this.usable('predict')
    return predict(this.#model, rows, options)
  }

  /** One backward pass over a batch, dropout off, nothing updated: the loss and the gradient of every trainable parameter. */
  async gradients(
    inputs: ForwardInputs,
    options: Omit<ForwardOptions, 'outputHiddenStates'> = {}
  ): Promise<{ loss: number; gradients: Map<string, TensorData> }> {
    this.configurable('gradients')
    checkOptions(options, ['adapters', 'head', 'taskIds', 'skipLayers'])
    const { packed, native } = passOf(this.#model, inputs, options)
    return await nativeCall(() => this.#model.native.gradients(packed.batch, native))
  }
}
