import { type HeadConfig, headConfigFromJson } from '../config/head-config.js'

/** Where a model class with a head of its own keeps it, and what the same head is among ours. */
interface StaticHead {
  readonly config: Readonly<Record<string, unknown>>
  /** Module of the class → index of the layer in our head. */
  readonly layers: Readonly<Record<string, number>>
}

const bertClassifier: StaticHead = {
  config: { head_type: 'classification', layers: 1, activation_function: null, use_pooler: true },
  layers: { classifier: 1 }
}

const robertaClassifier: StaticHead = {
  config: { head_type: 'classification', layers: 2, activation_function: 'tanh', use_pooler: false },
  layers: { 'classifier.dense': 1, 'classifier.out_proj': 4 }
}

const tagger: StaticHead = {
  config: { head_type: 'tagging', layers: 1, activation_function: null },
  layers: { classifier: 1 }
}

const masked = { head_type: 'masked_lm', layers: 2, activation_function: 'gelu' }

const bertMasked: StaticHead = {
  config: masked,
  layers: {
    'cls.predictions.transform.dense': 0,
    'cls.predictions.transform.LayerNorm': 2,
    'cls.predictions.decoder': 3
  }
}

const robertaMasked: StaticHead = {
  config: masked,
  layers: { 'lm_head.dense': 0, 'lm_head.layer_norm': 2, 'lm_head.decoder': 3 }
}

const electraClassifier: StaticHead = {
  config: { head_type: 'classification', layers: 2, activation_function: 'gelu' },
  layers: { 'classifier.dense': 1, 'classifier.out_proj': 4 }
}

const electraMasked: StaticHead = {
  config: masked,
  layers: { 'generator_predictions.dense': 0, 'generator_predictions.LayerNorm': 2, generator_lm_head: 3 }
}

const distilBertClassifier: StaticHead = {
  config: { head_type: 'classification', layers: 2, activation_function: 'relu' },
  layers: { pre_classifier: 1, classifier: 4 }
}

const distilBertMasked: StaticHead = {
  config: masked,
  layers: { vocab_transform: 0, vocab_layer_norm: 2, vocab_projector: 3 }
}

const gpt2Classifier: StaticHead = {
  config: { head_type: 'classification', layers: 1, activation_function: null, bias: false },
  layers: { score: 1 }
}

const vitClassifier: StaticHead = {
  config: { head_type: 'image_classification', layers: 1, activation_function: null },
  layers: { classifier: 1 }
}

const staticHeads: Readonly<Record<string, StaticHead>> = {
  BertForSequenceClassification: bertClassifier,
  BertForTokenClassification: tagger,
  BertForMaskedLM: bertMasked,
  RobertaForSequenceClassification: robertaClassifier,
  RobertaForTokenClassification: tagger,
  RobertaForMaskedLM: robertaMasked,
  XLMRobertaForSequenceClassification: robertaClassifier,
  XLMRobertaForTokenClassification: tagger,
  XLMRobertaForMaskedLM: robertaMasked,
  ElectraForSequenceClassification: electraClassifier,
  ElectraForTokenClassification: tagger,
  ElectraForMaskedLM: electraMasked,
  DistilBertForSequenceClassification: distilBertClassifier,
  DistilBertForTokenClassification: tagger,
  DistilBertForMaskedLM: distilBertMasked,
  GPT2ForSequenceClassification: gpt2Classifier,
  GPT2ForTokenClassification: tagger,
  ViTForImageClassification: vitClassifier,
  GPT2LMHeadModel: { config: { head_type: 'causal_lm' }, layers: { lm_head: 0 } }
}

export interface ConvertedHead {
  readonly config: HeadConfig
  /** Prefix of the file's keys → index of the layer: `classifier.weight` is `heads.<name>.1.weight`. */
  readonly layers: Readonly<Record<string, number>>
}

/** The head of a class such as BertForSequenceClassification, as the adapter library converts it. */
export function convertStaticHead(
  modelClass: string,
  label2id: Readonly<Record<string, unknown>> | null,
  numLabels: unknown
): ConvertedHead | undefined {
  if (!Object.hasOwn(staticHeads, modelClass)) return undefined
  const { config, layers } = staticHeads[modelClass] as StaticHead
  if (config['head_type'] === 'masked_lm' || config['head_type'] === 'causal_lm')
    return { config: headConfigFromJson(config), layers }
  const labels = label2id ?? { LABEL_0: 0, LABEL_1: 1 }
  const count = numLabels ?? Object.keys(labels).length
  return { config: headConfigFromJson({ ...config, num_labels: count, label2id: labels }), layers }
}
