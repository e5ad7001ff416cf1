import * as check from '../config/check.js'
import { withImageSize } from '../config/image-shape.js'
import type { Row } from '../data/dataset.js'
import { nativeCall } from '../native/errors.js'
import type { NativeForwardOptions } from '../native/pass-types.js'
import type { TensorData } from '../native/types.js'
import { headLabels, rowCount } from './head-labels.js'
import { type BatchHeads, batchHeads, headRule } from './head-rule.js'
import { type ForwardInputs, packInputs } from './inputs.js'
import type { Model } from './model.js'
import { noHead } from './no-head.js'
import { checkOptions, type ForwardOptions, type PredictOptions } from './options.js'
import { type ForwardOutputs, layOut, repeatedRows } from './outputs.js'
import { partsRead } from './parts-read.js'
import { type Prediction, predict } from './predict.js'
import { type BatchRows, batchSetups, channelCount, indexSetups, type RowAdapters } from './setup.js'
import { ParameterSharing } from './sharing.js'
import { skippedLayers } from './skip-layers.js'

const passKeys = ['adapters', 'head', 'taskIds', 'skipLayers', 'imageSize']

const adaptersOf = (model: Model, { adapters = model.activeAdapters }: ForwardOptions): RowAdapters => adapters

/** What the core is told about one pass beside its batch and its labels. */
export function passOptions(
  model: Model,
  options: ForwardOptions,
  batch: BatchRows
): { readonly native: NativeForwardOptions; readonly heads: BatchHeads | string | null } {
  const { outputHiddenStates: hidden = false, outputAdapterFusionAttentions: attentions = false } = options
  const setups = batchSetups(adaptersOf(model, options), batch, model.known)
  const heads = batchHeads(headRule(model, options), model.heads, setups, 'forward')
  const several = typeof heads === 'object' && heads !== null
  return {
    native: {
      copies: channelCount(adaptersOf(model, options)),
      ...indexSetups(setups),
      ...(several ? { head: null, heads: heads.names, rowHeads: heads.rows } : { head: heads }),
      skipLayers: skippedLayers(model, options),
      outputHiddenStates: hidden,
      outputLastHiddenState: hidden,
      outputFusionAttentions: attentions
    },
    heads
  }
}

/**
 * What one pass over a batch needs, and the heads that answer.
 * @param ofLoss the operation, where it is one that needs a head
 */
function passOf(model: Model, inputs: ForwardInputs, options: ForwardOptions, ofLoss?: string) {
  const rows = rowCount(check.checkObject('inputs', inputs) as unknown as ForwardInputs)
  const { native, heads } = passOptions(model, options, { rows, taskIds: options.taskIds })
  if (heads === null && ofLoss !== undefined) noHead(model, ofLoss, '', options.head === null)
  const single = typeof heads === 'string' ? model.heads.get(heads) : undefined
  const { imageSize } = options
  const config = withImageSize(model.config, imageSize)
  const given = packInputs(inputs, config, single)
  const packed = imageSize === undefined ? given : { ...given, batch: { ...given.batch, imageSize } }
  if (typeof heads === 'string' || heads === null) return { packed, native, heads }
  return { packed, native: { ...native, headLabels: headLabels(inputs, heads, { config, heads: model.heads }) }, heads }
}

/** A model's passes over a batch. */
export abstract class ModelPasses extends ParameterSharing {
  get #model(): Model {
    return this as unknown as Model
  }

  /**
   * One pass over a batch of ids. Every row is answered by the head that `activeHead` describes; where rows have different
   * ones, the answers come head by head as `headOutputs`.
   */
  async forward(inputs: ForwardInputs, options: ForwardOptions = {}): Promise<ForwardOutputs> {
    this.usable('forward')
    checkOptions(options, [...passKeys, 'outputHiddenStates', 'outputAdapterFusionAttentions'])
    const { packed, native, heads } = passOf(this.#model, inputs, options)
    const result = await nativeCall(() => this.#model.native.forward(packed.batch, native))
    return layOut(result, repeatedRows(packed, native.copies ?? 1), heads, this.#model.heads)
  }

  /** Answers rows of text or ids, in their order. */
  async predict(rows: readonly (Row | string)[], options: PredictOptions = {}): Promise<Prediction[]> {
    this.usable('predict')
    return predict(this.#model, rows, options)
  }

  /**
   * One backward pass over a batch, dropout off, nothing updated: the loss and the gradient of every trainable parameter. A
   * fusion's regularisation, which a trainer's step adds, is in neither.
   * After trainAdapter, trainAdapterFusion and trainAll the heads that answer the call are among them. An `AdapterError`
   * ERR_NO_HEAD where none answers.
   */
  async gradients(
    inputs: ForwardInputs,
    options: Omit<ForwardOptions, 'outputHiddenStates' | 'outputAdapterFusionAttentions'> = {}
  ): Promise<{ loss: number; gradients: Map<string, TensorData> }> {
    this.configurable('gradients')
    checkOptions(options, passKeys)
    const { packed, native } = passOf(this.#model, inputs, options, 'gradients')
    if (packed.batch.labels === undefined && native.headLabels === undefined) {
      throw check.valueError('inputs.labels', 'expected labels: gradients are those of a loss')
    }
    const heads = native.heads ?? [native.head]
    const trains = this.#model.trainsWith(heads.filter((head) => head !== null))
    const done = this.#model.reads(partsRead(native.setups, heads))
    try {
      return await nativeCall(() => this.#model.native.gradients(packed.batch, native, trains))
    } finally {
      done()
    }
  }
}
