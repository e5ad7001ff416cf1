import * as check from '../config/check.js'
import {
  type DependencyParsingHeadOptions,
  dependencyParsingHead,
  type MultipleChoiceHeadOptions,
  multipleChoiceHead,
  type QuestionAnsweringHeadOptions,
  questionAnsweringHead
} from '../config/choice-heads.js'
import {
  type CausalLmHeadOptions,
  type ClassificationHeadOptions,
  causalLmHead,
  classificationHead,
  type HeadConfig,
  headOptions,
  type ImageClassificationHeadOptions,
  imageClassificationHead,
  isTied,
  type MaskedLmHeadOptions,
  type MultiLabelHeadOptions,
  maskedLmHead,
  multiLabelHead,
  type RegressionHeadOptions,
  regressionHead,
  type TaggingHeadOptions,
  taggingHead
} from '../config/head-config.js'
import { checkHeadKeys } from '../config/head-fields.js'
import type { ModelConfig } from '../config/model-config.js'
import { checkAdapterName } from '../exchange/write-folder.js'
import { AdapterError } from '../native/errors.js'

export interface AddOptions {
  /** Replace one of this name. Default false: an error. */
  readonly overwriteOk?: boolean | undefined
  /** Seeds its start, which is then the same whatever the name. Default: the model's seed and the name. */
  readonly seed?: number | undefined
}

/** Whether the name is there already and may be replaced; an error where it may not. */
export function isTaken(kind: string, name: string, known: ReadonlyMap<string, unknown>, options: AddOptions): boolean {
  const given = check.checkObject('options', options)
  check.checkKeys('options', given, addOptions, (key) =>
    kind === 'adapter' && key.replaceAll('_', '').toLowerCase() === 'leaveout'
      ? "belongs in the config: 'seq_bn[leave_out=[0]]', or AdapterConfig.load('seq_bn', { leaveOut: [0] })"
      : undefined
  )
  check.checkCommonOptions(given)
  if (options.seed !== undefined) check.checkInteger('seed', options.seed, 0)
  checkAdapterName(name)
  if (!known.has(name)) return false
  if (options.overwriteOk) return true
  throw check.valueError('name', `the ${kind} '${name}' exists already; pass overwriteOk: true to replace it`)
}

/** Images have heads of their own, as in the adapter library, and what answers with words does so with the word embedding. */
export function checkHeadFits(
  config: HeadConfig,
  { modelType, imageSize, tieWordEmbeddings, exported }: ModelConfig
): void {
  const { headType } = config
  if (isTied(config) && !tieWordEmbeddings) {
    throw new AdapterError(
      'ERR_UNSUPPORTED',
      'addHead',
      'this model answers with words through an output layer of its own',
      {
        expected: "tie_word_embeddings: true in the model's config.json, where the word embedding is that layer",
        got: `tie_word_embeddings: false, and a head of type ${headType}`,
        hint:
          exported === null
            ? 'Load the model with withHead: false, and add heads of other types, or a head for words with tied: false'
            : 'Export the class with its own head, which answers and trains adapters (--class AutoModelForCausalLM), or add one with tied: false'
      }
    )
  }
  if ((headType === 'image_classification') === (imageSize !== null)) return
  throw new AdapterError('ERR_UNSUPPORTED', 'addHead', `a model of type ${modelType} has no heads of this kind`, {
    expected: imageSize === null ? 'a head for text' : 'image_classification',
    got: headType,
    hint: imageSize === null ? 'Use addClassificationHead' : 'Use addImageClassificationHead'
  })
}

/** What every call that adds a head takes beside the head's own. */
const addOptions = ['overwriteOk', 'seed'] as const satisfies readonly (keyof AddOptions)[]

/** The options of the call apart from those of the head's config. */
function apart<T extends AddOptions>(
  kind: keyof typeof headOptions,
  options: T
): [AddOptions, Omit<T, keyof AddOptions>] {
  checkHeadKeys(kind, options, [...headOptions[kind], ...addOptions])
  const { overwriteOk, seed, ...rest } = options
  return [{ overwriteOk, seed }, rest]
}

/**
 * A model's calls that add a head of one kind, under a name: that of an adapter answers its rows. The first head becomes the
 * active one. What a row's `label` must be for each is told in docs/heads.md.
 *
 * Each throws a TypeError or RangeError for a wrong name or option, and where the name is taken (unless `overwriteOk`); an
 * `AdapterError` ERR_UNSUPPORTED where the model can have no such head, ERR_BUSY while a run holds the model.
 */
export abstract class HeadAdders {
  abstract addHead(name: string, config: HeadConfig, options?: AddOptions): void

  /**
   * One class a row: logits [rows, numLabels]; the loss is cross-entropy. Default: two labels, two layers with tanh between
   * them over the row's first token (GPT-2: its last). With `numLabels: 1` it is a regression head.
   */
  addClassificationHead(name: string, options: ClassificationHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('classification', options)
    this.addHead(name, classificationHead(config), add)
  }

  /** One number a row, in the labels' own unit: logits [rows, 1]; the loss is the mean squared error. Default: two layers with tanh. */
  addRegressionHead(name: string, options: RegressionHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('regression', options)
    this.addHead(name, regressionHead(config), add)
  }

  /**
   * Any number of labels a row: logits [rows, numLabels]; the loss is binary cross-entropy, and a label applies from a
   * probability of one half on. Default: two labels, two layers with tanh.
   */
  addMultiLabelClassificationHead(name: string, options: MultiLabelHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('multilabel_classification', options)
    this.addHead(name, multiLabelHead(config), add)
  }

  /**
   * One class an image, or with `multilabel` any number of them: logits [images, numLabels]. For models of images, which take
   * no other head. Default: two labels, one layer.
   */
  addImageClassificationHead(name: string, options: ImageClassificationHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('image_classification', options)
    this.addHead(name, imageClassificationHead(config), add)
  }

  /**
   * One class a token: logits [rows, columns, numLabels]; the loss is cross-entropy over labelled tokens. Default: two labels,
   * one layer.
   */
  addTaggingHead(name: string, options: TaggingHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('tagging', options)
    this.addHead(name, taggingHead(config), add)
  }

  /**
   * The part of a context that answers a question: logits [rows, columns, 2], each token as the answer's first and last.
   * Default: one layer.
   */
  addQuestionAnsweringHead(name: string, options: QuestionAnsweringHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('question_answering', options)
    this.addHead(name, questionAnsweringHead(config), add)
  }

  /**
   * The best of a row's choices, however many it has: logits [questions, choices], -Infinity where a question has fewer; the
   * loss is cross-entropy over the choices. Default: two layers with tanh. GPT-2 and its like have none.
   */
  addMultipleChoiceHead(name: string, options: MultipleChoiceHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('multiple_choice', options)
    this.addHead(name, multipleChoiceHead(config), add)
  }

  /**
   * For each word its head among the words of the row, and the relation to it: logits [rows, words, 1 + words], the root
   * first, and relationLogits [rows, words, 1 + words, numLabels]. Default: two relations. GPT-2 and its like have none.
   */
  addDependencyParsingHead(name: string, options: DependencyParsingHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('dependency_parsing', options)
    this.addHead(name, dependencyParsingHead(config), add)
  }

  /**
   * Predicting the next token, for models that write (GPT-2): logits [rows, columns, vocabulary]. Default: two layers with
   * gelu, LayerNorm and a bias, of which the last is the word embedding (`tied`). A model whose words are not tied
   * (`tie_word_embeddings: false`) takes `tied: false` alone.
   */
  addCausalLmHead(name: string, options: CausalLmHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('causal_lm', options)
    this.addHead(name, causalLmHead(config), add)
  }

  /**
   * Masked language modelling: logits [rows, columns, vocabulary]. Default: two layers with gelu and LayerNorm, of which the
   * last is the word embedding (`tied`), as in addCausalLmHead.
   */
  addMaskedLmHead(name: string, options: MaskedLmHeadOptions & AddOptions = {}): void {
    const [add, config] = apart('masked_lm', options)
    this.addHead(name, maskedLmHead(config), add)
  }
}
