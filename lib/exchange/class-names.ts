import { type HeadConfig, isTied, labelNames, predictsWords, readsRows } from '../config/head-config.js'
import { prefixed } from '../config/linear-paths.js'
import { type ModelConfig, modelConfigToJson } from '../config/model-config.js'
import { familyOf } from '../config/model-families.js'
import { didYouMean } from '../config/nearest.js'
import { AdapterError } from '../native/errors.js'
import { isSameHead } from './same-head.js'
import { type ConvertedHead, modelClassHead, staticHeadClasses } from './static-heads.js'

// What transformers' classes call the parameters of a model: GPT2Model has `h.0.mlp.c_fc.weight`, GPT2LMHeadModel
// `transformer.h.0.mlp.c_fc.weight` and `lm_head.weight`. Surgery renames both alike.

export const wordEmbedding = /(^|\.)(word_embeddings|wte)\.weight$/

/** A parameter's name there, and here. */
export interface NameInClass {
  readonly theirs: string
  readonly ours: string
}

/** The head that answers as the class's own does. */
export interface ClassHead {
  readonly name: string
  readonly config: HeadConfig
}

/** A model's parts that a class of transformers has, too. */
export interface ModelParts {
  readonly config: ModelConfig
  /** Of the base model, of what surgery put into it, and of heads; of a tensor in several places all names. */
  readonly names: readonly string[]
  readonly head: ClassHead | null
}

const baseOf = (config: ModelConfig) => familyOf(config).adapterClass.replace(/AdapterModel$/, '')

/** Whether it is the class without a head. */
export const isBareClass = (modelClass: string, config: ModelConfig) => modelClass === `${baseOf(config)}Model`

/** The classes that such a model may be: the bare one, and those with a head that has its like here. */
export function modelClasses(config: ModelConfig): readonly string[] {
  if (config.exported !== null) return []
  const base = baseOf(config)
  const own = staticHeadClasses.filter((name) => name.startsWith(`${base}For`) || name === `${base}LMHeadModel`)
  return [`${base}Model`, ...own]
}

/** Whether the class has a head, which must then be here; GPT2LMHeadModel's may be the word embedding alone. */
export function needsHead(modelClass: string, config: ModelConfig): boolean {
  return !isBareClass(modelClass, config) && !(modelClass.endsWith('LMHeadModel') && config.tieWordEmbeddings)
}

/** config.json of the class. */
export function classConfigJson(modelClass: string, { config, head }: ModelParts): Record<string, unknown> {
  const json = modelConfigToJson(config, modelClass)
  if (head === null || isBareClass(modelClass, config)) return json
  // A head with an output layer of its own makes the class one.
  if (predictsWords(head.config)) return head.config.tied ? json : { ...json, tie_word_embeddings: false }
  const labels = labelNames(head.config)
  if (labels.length === 0) return json
  const problem = readsRows(head.config) && head.config.headType === 'multilabel_classification'
  return {
    ...json,
    id2label: Object.fromEntries(labels.map((label, id) => [id, label])),
    label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
    ...(problem && { problem_type: 'multi_label_classification' })
  }
}

/** All names of the class, in order: those of its state dict. */
export function classNames(modelClass: string, model: ModelParts): readonly NameInClass[] {
  const { config, names } = model
  checkClass(modelClass, config)
  const inBase = names.filter((name) => !name.startsWith('heads.'))
  if (isBareClass(modelClass, config)) {
    const prefix = prefixed('', config)
    return inBase.map((ours) => ({ theirs: ours.startsWith(prefix) ? ours.slice(prefix.length) : ours, ours }))
  }
  const found = headOfClass(modelClass, model)
  const hasPooler = 'usePooler' in found.config && found.config.usePooler
  const pooler = prefixed('pooler.', config)
  return [
    ...inBase.flatMap((ours) => (hasPooler || !ours.startsWith(pooler) ? [{ theirs: ours, ours }] : [])),
    ...headNames(found, model)
  ]
}

function checkClass(modelClass: string, config: ModelConfig): void {
  const known = modelClasses(config)
  if (known.includes(modelClass)) return
  throw refuse(`a model of type ${config.modelType} is no ${modelClass}`, {
    expected: known.length > 0 ? `one of ${known.join(', ')}` : 'no modelClass: an exported network has its own names',
    hint: didYouMean(modelClass, known).trim() || 'Without modelClass names are those of namedParameters.'
  })
}

function headOfClass(modelClass: string, model: ModelParts): ConvertedHead {
  const { head, config } = model
  const found = modelClassHead(classConfigJson(modelClass, model))
  if (found === undefined) throw refuse(`${modelClass} has no head with its like here`, {})
  if (head === null) {
    if (!needsHead(modelClass, config)) return found
    throw refuse(`${modelClass} answers with a head, and none is named`, { hint: 'Name one with head.' })
  }
  const kind = (type: string) => type.replace('multilabel_', '')
  if (kind(found.config.headType) === kind(head.config.headType) && isSameHead(found.config, head.config)) return found
  throw refuse(`the head '${head.name}' is not what ${modelClass} has`, {
    expected: JSON.stringify(found.config),
    got: JSON.stringify(head.config),
    hint: 'Name another head, or another modelClass.'
  })
}

/** The class's modules for the layers of our head, by their index in it. */
function headNames({ layers, config: form }: ConvertedHead, { names, head }: ModelParts): NameInClass[] {
  const all = Object.entries(layers)
  // A module around the last layer, which has a bias of its own: `lm_head.bias` is `lm_head.decoder.bias`.
  const isAround = ([module, index]: readonly [string, number]) =>
    all.some(([other, at]) => at === index && other.startsWith(`${module}.`))
  // The first of a tensor's names is the one that save_pretrained keeps.
  const modules = all.toSorted((a, b) => Number(isAround(b)) - Number(isAround(a)))
  const start = head === null ? null : `heads.${head.name}.`
  const own = names.flatMap((ours) => {
    if (start === null || !ours.startsWith(start)) return []
    const [index = '', ...rest] = ours.slice(start.length).split('.')
    return modules.flatMap((module) =>
      `${module[1]}` === index && (!isAround(module) || rest.join('.') === 'bias')
        ? [{ theirs: [module[0], ...rest].join('.'), ours }]
        : []
    )
  })
  const isWord = head === null || (predictsWords(form) && isTied(head.config))
  const words = names.find((name) => wordEmbedding.test(name))
  if (!isWord || words === undefined) return own
  const last = Math.max(...Object.values(layers))
  const decoder = modules.find((module) => module[1] === last && !isAround(module))
  return decoder === undefined ? own : [...own, { theirs: `${decoder[0]}.weight`, ours: words }]
}

function refuse(problem: string, rest: { expected?: string; got?: string; hint?: string }): AdapterError {
  return new AdapterError('ERR_UNSUPPORTED', "give a model class's state", problem, rest)
}
