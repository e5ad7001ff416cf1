import { type Activation, activationParameters } from '../config/activations.js'
import {
  type HeadConfig,
  headConfigFromJson,
  headInModel,
  isManyValues,
  predictsWords,
  type RowHeadConfig,
  readsRows
} from '../config/head-config.js'
import type { ProblemType } from '../config/peft-config.js'

/** As Python's AutoAdapterModel calls the head of a class such as BertForQuestionAnswering. */
export const defaultHead = 'default'

/** Where a model class with a head of its own keeps it, and what the same head is among ours. */
interface StaticHead {
  readonly config: Readonly<Record<string, unknown>>
  /** Module of the class → index of the layer in our head. */
  readonly layers: Readonly<Record<string, number>>
  /** The field of config.json that names the head's activation, where the class has no fixed one. */
  readonly activation?: string
  /** Fields of config.json with the one value, which is the default, that the head computes. */
  readonly fixed?: Readonly<Record<string, unknown>>
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

const answerer: StaticHead = {
  config: { head_type: 'question_answering', layers: 1, activation_function: null },
  layers: { qa_outputs: 1 }
}

const bertChooser: StaticHead = {
  config: { head_type: 'multiple_choice', layers: 1, activation_function: null, use_pooler: true },
  layers: { classifier: 1 }
}

const electraChooser: StaticHead = {
  config: { head_type: 'multiple_choice', layers: 2, activation_function: 'gelu' },
  layers: { 'sequence_summary.summary': 1, classifier: 4 },
  fixed: { summary_type: 'first', summary_use_proj: true, summary_activation: 'gelu' }
}

const distilBertChooser: StaticHead = {
  config: { head_type: 'multiple_choice', layers: 2, activation_function: 'relu' },
  layers: { pre_classifier: 1, classifier: 4 }
}

const masked = { head_type: 'masked_lm', layers: 2, activation_function: 'gelu' }

const bertMasked: StaticHead = {
  config: masked,
  layers: {
    'cls.predictions.transform.dense': 0,
    'cls.predictions.transform.LayerNorm': 2,
    // The decoder's bias is the module's own, and in safetensors has no other name.
    'cls.predictions.decoder': 3,
    'cls.predictions': 3
  },
  activation: 'hidden_act'
}

const robertaMasked: StaticHead = {
  config: masked,
  layers: { 'lm_head.dense': 0, 'lm_head.layer_norm': 2, 'lm_head.decoder': 3, lm_head: 3 }
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
  layers: { vocab_transform: 0, vocab_layer_norm: 2, vocab_projector: 3 },
  activation: 'activation'
}

const gpt2Classifier: StaticHead = {
  config: { head_type: 'classification', layers: 1, activation_function: null, bias: false },
  layers: { score: 1 }
}

const vitClassifier: StaticHead = {
  config: { head_type: 'image_classification', layers: 1, activation_function: null },
  layers: { classifier: 1 }
}

const causal: StaticHead = { config: { head_type: 'causal_lm' }, layers: { lm_head: 0 } }

const staticHeads: Readonly<Record<string, StaticHead>> = {
  BertForSequenceClassification: bertClassifier,
  BertForTokenClassification: tagger,
  BertForQuestionAnswering: answerer,
  BertForMultipleChoice: bertChooser,
  BertForMaskedLM: bertMasked,
  RobertaForSequenceClassification: robertaClassifier,
  RobertaForTokenClassification: tagger,
  RobertaForQuestionAnswering: answerer,
  RobertaForMultipleChoice: bertChooser,
  RobertaForMaskedLM: robertaMasked,
  XLMRobertaForSequenceClassification: robertaClassifier,
  XLMRobertaForTokenClassification: tagger,
  XLMRobertaForQuestionAnswering: answerer,
  XLMRobertaForMultipleChoice: bertChooser,
  XLMRobertaForMaskedLM: robertaMasked,
  ElectraForSequenceClassification: electraClassifier,
  ElectraForTokenClassification: tagger,
  ElectraForQuestionAnswering: answerer,
  ElectraForMultipleChoice: electraChooser,
  ElectraForMaskedLM: electraMasked,
  DistilBertForSequenceClassification: distilBertClassifier,
  DistilBertForTokenClassification: tagger,
  DistilBertForQuestionAnswering: answerer,
  DistilBertForMultipleChoice: distilBertChooser,
  DistilBertForMaskedLM: distilBertMasked,
  // Their classifiers of rows read a pooler of another form.
  DebertaForTokenClassification: tagger,
  DebertaForQuestionAnswering: answerer,
  DebertaV2ForTokenClassification: tagger,
  DebertaV2ForQuestionAnswering: answerer,
  GPT2ForSequenceClassification: gpt2Classifier,
  GPT2ForTokenClassification: tagger,
  ViTForImageClassification: vitClassifier,
  GPT2ForQuestionAnswering: answerer,
  GPT2LMHeadModel: causal
}

/** The heads of most decoders' classes in transformers, by the task in the class's name. */
const decoderHeads = {
  SequenceClassification: gpt2Classifier,
  TokenClassification: { ...tagger, layers: { score: 1 } },
  CausalLM: causal
} satisfies Readonly<Record<string, StaticHead>>

export type DecoderTask = keyof typeof decoderHeads

export function convertDecoderHead(task: DecoderTask, labels: number): ConvertedHead {
  const { config, layers } = decoderHeads[task]
  const labelled = task === 'CausalLM' ? {} : { num_labels: labels }
  return { config: headConfigFromJson({ ...config, ...labelled }), layers, takesHiddenAct: false }
}

export const staticHeadClasses: readonly string[] = Object.keys(staticHeads)

/** Whether a name of a file is one of the class's own head. */
export function isInStaticHead(modelClass: string, name: string): boolean {
  return Object.keys(staticHeads[modelClass]?.layers ?? {}).some((module) => name.startsWith(`${module}.`))
}

/** The head that a model of this class answers with, whose tensors lie beside the base model's. */
export function modelClassHead(json: Readonly<Record<string, unknown>>): ConvertedHead | undefined {
  const modelClass = modelClassOf(json)
  const found = convertStaticHead(modelClass, labelFields(json))
  if (found === undefined || whyUnlike(found, json) !== undefined) return undefined
  const { problem_type: problem } = json
  if (predictsWords(found.config)) return wordHead(found, modelClass, json)
  if (!readsRows(found.config) || problem !== 'multi_label_classification') return found
  return { ...found, config: headOfProblem(found.config, problem) }
}

/** Why none of ours is like the class's head, of which `names` are in the file; undefined: one is, or there is no head. */
export function unlikeHead(json: Readonly<Record<string, unknown>>, names: readonly string[]): string | undefined {
  const modelClass = modelClassOf(json)
  const found = convertStaticHead(modelClass, labelFields(json))
  if (found === undefined || !names.some((name) => isInStaticHead(modelClass, name))) return undefined
  const why = whyUnlike(found, json)
  return why && `${modelClass}'s, ${why}`
}

function whyUnlike({ config }: ConvertedHead, json: Readonly<Record<string, unknown>>): string | undefined {
  const { activation = '', fixed = {} } = staticHeads[modelClassOf(json)] as StaticHead
  const other = Object.entries(fixed).find(([field, value]) => json[field] !== undefined && json[field] !== value)
  if (other !== undefined) return `whose ${other[0]} is not ${JSON.stringify(other[1])}`
  const name = json[activation]
  if (activationParameters(name as Activation) > 0) return `whose activation '${name}' has parameters of its own`
  return readsRows(config) && isManyValues(json['problem_type'], config.numLabels)
    ? `which gives ${config.numLabels} values a row (problem_type "regression")`
    : undefined
}

const modelClassOf = ({ architectures }: Readonly<Record<string, unknown>>): string =>
  Array.isArray(architectures) ? String(architectures[0]) : ''

/** As in transformers, whose label2id says nothing beside an id2label: it keeps its old names where people set the other alone. */
function labelFields({ id2label, label2id, num_labels }: Readonly<Record<string, unknown>>): LabelFields {
  const names = Object.entries((id2label ?? {}) as object).map(([id, name]) => [
    id,
    typeof name === 'number' ? String(name) : name
  ])
  if (names.length === 0) return { label2id, num_labels }
  return { id2label: Object.fromEntries(names), num_labels: names.length }
}

/** The same layers for one label a row, or for any number of them. */
export function headOfProblem(config: RowHeadConfig, problem: ProblemType): RowHeadConfig {
  const several = problem === 'multi_label_classification'
  if (config.headType === 'image_classification') return Object.freeze({ ...config, multilabel: several })
  return Object.freeze({ ...config, headType: several ? 'multilabel_classification' : 'classification' })
}

/** Words that are not tied are an output layer of their own. */
function wordHead(found: ConvertedHead, modelClass: string, json: Readonly<Record<string, unknown>>): ConvertedHead {
  const { config, activation } = staticHeads[modelClass] as StaticHead
  const name = activation === undefined ? undefined : json[activation]
  const own = typeof name === 'string' ? headConfigFromJson({ ...config, activation_function: name }) : found.config
  return { ...found, config: headInModel(own, { tieWordEmbeddings: json['tie_word_embeddings'] !== false }) }
}

export interface ConvertedHead {
  readonly config: HeadConfig
  /** Prefix of the file's keys → index of the layer: `classifier.weight` is `heads.<name>.1.weight`. */
  readonly layers: Readonly<Record<string, number>>
  /** The class has no activation of its own: it takes the model's `hidden_act`. */
  readonly takesHiddenAct: boolean
}

/** The labels of a class, as its file has them: the names under their ids, or the ids under their names. */
interface LabelFields {
  readonly id2label?: unknown
  readonly label2id?: unknown
  readonly num_labels?: unknown
}

/** The head of a class such as BertForSequenceClassification, as the adapter library converts it. */
export function convertStaticHead(modelClass: string, labels: LabelFields): ConvertedHead | undefined {
  if (!Object.hasOwn(staticHeads, modelClass)) return undefined
  const { config, layers, activation } = staticHeads[modelClass] as StaticHead
  const takesHiddenAct = activation !== undefined
  const { head_type: type } = config
  // Words, the two ends of an answer, and choices have no labels, whatever the file says.
  const hasLabels = !['masked_lm', 'causal_lm', 'question_answering', 'multiple_choice'].includes(type as string)
  return { config: headConfigFromJson(hasLabels ? { ...config, ...labels } : config), layers, takesHiddenAct }
}

/** Whether the weights have something of each of the head's layers, and its own matrix of words where it has one. */
export function isThere({ config, layers }: ConvertedHead, names: readonly string[]): boolean {
  const layerOf = (name: string) => layers[name.slice(0, name.lastIndexOf('.'))]
  const found = new Set(names.map(layerOf))
  const wanted = new Set(Object.values(layers))
  if (predictsWords(config)) {
    const last = Math.max(...wanted)
    // A tied decoder without bias is the word embedding alone.
    if (config.tied && config.headType === 'causal_lm' && !config.bias) wanted.delete(last)
    if (!config.tied && !names.some((name) => name.endsWith('.weight') && layerOf(name) === last)) return false
  }
  return [...wanted].every((layer) => found.has(layer))
}
