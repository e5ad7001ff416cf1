import type { NonLinearity } from './activations.js'
import * as check from './check.js'
import {
  checkHeadKeys,
  defaultIds,
  dropoutField,
  type HeadOptions,
  type LabelIds,
  labelledFields,
  layerFields,
  type NamedLabels
} from './head-fields.js'

/** Which part of a text answers a question. Logits [rows, columns, 2]: each token as the answer's first and as its last. */
export interface QuestionAnsweringHeadConfig {
  readonly headType: 'question_answering'
  /** `layers`: linear layers, from 1 to 16. Default 1. */
  readonly layers: number
  /** `activation_function`: between two layers. Default 'tanh'; null: none. */
  readonly activationFunction: NonLinearity | null
  /** `dropout_prob`: before each layer, from 0 to 1. Default null: the model's own. */
  readonly dropoutProb: number | null
}

/** Which of several texts fits: one score for each. Logits [questions, choices]. */
export interface MultipleChoiceHeadConfig extends NamedLabels {
  readonly headType: 'multiple_choice'
  /**
   * `num_choices`: choices of a row in Python, where all rows have as many. Here a row has as many as it has. Default 2, or as
   * many as are named.
   */
  readonly numChoices: number
  /** `layers`: linear layers, from 1 to 16. Default 2. */
  readonly layers: number
  /** `activation_function`: between two layers. Default 'tanh'; null: none. */
  readonly activationFunction: NonLinearity | null
  /** `label2id`: what the choices are called. Default null: their numbers. */
  readonly label2id: LabelIds | null
  /** `use_pooler`: read the model's pooler instead of the first token. Default false. A model without one refuses it. */
  readonly usePooler: boolean
  /** `dropout_prob`: before each layer, from 0 to 1. Default null: the model's own. */
  readonly dropoutProb: number | null
}

/**
 * For each word its head among the words, and the relation to it. Logits [rows, words, 1 + words] and relationLogits
 * [rows, words, 1 + words, numLabels].
 */
export interface DependencyParsingHeadConfig extends NamedLabels {
  readonly headType: 'dependency_parsing'
  /** `num_labels`: relations, from 1 to 1,000,000. Default 2, or as many as are named. */
  readonly numLabels: number
  /** `label2id` of the relations. Default null: LABEL_0, LABEL_1, … */
  readonly label2id: LabelIds | null
}

export type ChoiceHeadConfig = QuestionAnsweringHeadConfig | MultipleChoiceHeadConfig | DependencyParsingHeadConfig

/** What `addQuestionAnsweringHead` takes. */
export type QuestionAnsweringHeadOptions = Omit<HeadOptions<QuestionAnsweringHeadConfig>, 'labels' | 'id2label'>
/** What `addMultipleChoiceHead` takes. */
export type MultipleChoiceHeadOptions = HeadOptions<MultipleChoiceHeadConfig>
/** What `addDependencyParsingHead` takes. */
export type DependencyParsingHeadOptions = HeadOptions<DependencyParsingHeadConfig>

/** The fields of each of these heads' configs. */
export const choiceHeadFields = {
  question_answering: ['layers', 'activationFunction', 'dropoutProb'],
  multiple_choice: ['numChoices', 'layers', 'activationFunction', 'label2id', 'usePooler', 'dropoutProb'],
  dependency_parsing: ['numLabels', 'label2id']
} as const

/** What the calls that add these heads take. */
export const choiceHeadOptions = {
  question_answering: choiceHeadFields.question_answering,
  multiple_choice: [...choiceHeadFields.multiple_choice, 'labels', 'id2label'],
  dependency_parsing: [...choiceHeadFields.dependency_parsing, 'labels', 'id2label']
} as const

/** Heads that choose among a row's tokens, choices or words. */
export function isChoiceHead(config: { readonly headType: string }): config is ChoiceHeadConfig {
  return Object.hasOwn(choiceHeadFields, config.headType)
}

export function questionAnsweringHead(options: QuestionAnsweringHeadOptions = {}): QuestionAnsweringHeadConfig {
  checkHeadKeys('question_answering', options, choiceHeadOptions.question_answering)
  return Object.freeze({
    headType: 'question_answering',
    ...layerFields(options, 1, 'tanh'),
    dropoutProb: dropoutField(options)
  })
}

export function multipleChoiceHead(options: MultipleChoiceHeadOptions = {}): MultipleChoiceHeadConfig {
  checkHeadKeys('multiple_choice', options, choiceHeadOptions.multiple_choice)
  const { numChoices, usePooler = false, ...rest } = options
  const { numLabels, ...fields } = labelledFields({ ...rest, numLabels: numChoices }, 2, 'numChoices')
  return Object.freeze({
    headType: 'multiple_choice',
    numChoices: numLabels,
    ...fields,
    usePooler: check.checkBoolean('usePooler', usePooler)
  })
}

export function dependencyParsingHead(options: DependencyParsingHeadOptions = {}): DependencyParsingHeadConfig {
  checkHeadKeys('dependency_parsing', options, choiceHeadOptions.dependency_parsing)
  const { layers: _, activationFunction: __, dropoutProb: ___, ...fields } = labelledFields(options, 1)
  return Object.freeze({ headType: 'dependency_parsing', ...fields })
}

/** From the library's dict, its keys in camelCase. */
export function choiceHeadFromFields(
  headType: ChoiceHeadConfig['headType'],
  fields: Readonly<Record<string, unknown>>
): ChoiceHeadConfig {
  if (headType === 'multiple_choice') return multipleChoiceHead(fields)
  if (headType === 'dependency_parsing') return dependencyParsingHead(fields)
  // Two outputs, first and last; what they are called means nothing.
  const { numLabels = 2, label2id: _, id2label: __, ...rest } = fields
  if (numLabels !== 2) throw check.rangeError('num_labels', '2, the first and the last token of an answer', numLabels)
  return questionAnsweringHead(rest)
}

/** What the library's dict has beside the config's own fields. */
export function choiceHeadExtras(config: ChoiceHeadConfig): Record<string, unknown> {
  if (config.headType === 'question_answering') return { num_labels: 2, label2id: defaultIds(2) }
  const count = config.headType === 'multiple_choice' ? config.numChoices : config.numLabels
  return { label2id: config.label2id ?? defaultIds(count) }
}

/** What the core is told apart from the type. */
export function nativeChoiceFields(config: ChoiceHeadConfig) {
  const parses = config.headType === 'dependency_parsing'
  return {
    num_labels: parses ? config.numLabels : config.headType === 'multiple_choice' ? 1 : 2,
    layers: parses ? 1 : config.layers,
    activation_function: parses ? null : config.activationFunction,
    use_pooler: config.headType === 'multiple_choice' && config.usePooler,
    bias: true,
    layer_norm: true,
    dropout_prob: parses ? null : config.dropoutProb
  }
}
