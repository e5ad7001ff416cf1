import { AdapterError } from '../native/errors.js'
import type { NativeExportedFacts } from '../native/exported-types.js'
import * as check from './check.js'
import { questionAnsweringHead } from './choice-heads.js'
import type { ExportNote } from './exported-config.js'
import {
  causalLmHead,
  classificationHead,
  type HeadConfig,
  imageClassificationHead,
  isManyValues,
  maskedLmHead,
  multiLabelHead,
  taggingHead
} from './head-config.js'
import type { ModelConfig } from './model-config.js'

/**
 * The head that an exported network brings along, told by what its logits are: an answer's begin and end, words where it has
 * as many as the vocabulary, else labels of tokens or rows, whose names and kind the config has. It has no layers here: the graph has them. Undefined:
 * there is none.
 */
export function ownHead(
  facts: NativeExportedFacts,
  { config }: ExportNote,
  model: ModelConfig
): HeadConfig | undefined {
  const { ownLabels: numLabels, ownHeadReadsRows, ownHeadGivesSpans } = facts
  if (numLabels === 0) return undefined
  if (ownHeadGivesSpans) return withoutLayers(questionAnsweringHead({ activationFunction: null }))
  const tied = model.tieWordEmbeddings
  if (!ownHeadReadsRows && numLabels === facts.vocabulary)
    return withoutLayers(
      facts.isCausal
        ? causalLmHead({ tied, bias: false, layerNorm: false, activationFunction: null })
        : maskedLmHead({ tied })
    )
  const { id2label } = config
  const names = id2label === undefined || id2label === null ? undefined : check.checkObject('id2label', id2label)
  const labels = {
    numLabels,
    activationFunction: null,
    ...(names !== undefined && Object.keys(names).length === numLabels && { id2label: names as Record<number, string> })
  }
  if (!ownHeadReadsRows) return withoutLayers(taggingHead(labels))
  if (isManyValues(config['problem_type'], numLabels)) refuseValues(numLabels)
  const several = config['problem_type'] === 'multi_label_classification'
  if (model.imageSize !== null) return withoutLayers(imageClassificationHead({ ...labels, multilabel: several }))
  return withoutLayers(several ? multiLabelHead(labels) : classificationHead(labels))
}

function refuseValues(count: number): never {
  const problem = `no head here gives ${count} values a row, as the network's own does (problem_type "regression")`
  throw new AdapterError('ERR_UNSUPPORTED', 'load the exported model', problem, {
    hint: 'Export the model without its head (AutoModel), and add a head here.'
  })
}

/** Whether a head is the network's own, whose weights are the archive's. */
export const isOwnHead = (config: HeadConfig | undefined): boolean =>
  config !== undefined && 'layers' in config && config.layers === 0

const withoutLayers = (config: HeadConfig): HeadConfig => Object.freeze({ ...config, layers: 0 }) as HeadConfig
