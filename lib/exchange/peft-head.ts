import { isDeepStrictEqual } from 'node:util'
import { activationParameters } from '../config/activations.js'
import { valueError } from '../config/check.js'
import { some } from '../config/counted.js'
import type { ExportedNetwork } from '../config/exported-network.js'
import {
  type HeadConfig,
  headConfigFromJson,
  type LanguageHeadConfig,
  predictsWords,
  readsRows
} from '../config/head-config.js'
import { prefixed, prefixOf } from '../config/linear-paths.js'
import { loraScale } from '../config/lora-config.js'
import type { ModelConfig } from '../config/model-config.js'
import { familyOf } from '../config/model-families.js'
import type { ProblemType } from '../config/peft-config.js'
import { matching } from '../config/peft-modules.js'
import { AdapterError } from '../native/errors.js'
import type { FoldedLinear } from '../native/types.js'
import type { HeadFolder } from './adapter-folder.js'
import { isDecoderClass, isTokenClass } from './decoder-classes.js'
import { loraFields } from './peft-adapter.js'
import { storedForTask } from './peft-class.js'
import type { PeftFolder } from './peft-folder.js'
import { peftPooler, peftRoot, peftTensors } from './peft-targets.js'
import {
  type ConvertedHead,
  convertDecoderHead,
  convertStaticHead,
  type DecoderTask,
  headOfProblem
} from './static-heads.js'

const taskClasses: Readonly<Record<string, string>> = {
  SEQ_CLS: 'ForSequenceClassification',
  TOKEN_CLS: 'ForTokenClassification',
  QUESTION_ANS: 'ForQuestionAnswering',
  CAUSAL_LM: 'ForCausalLM'
}

const operation = 'load the PEFT adapter'

/** Where a class keeps its head: the module of each layer, in our order. */
export interface PeftHead {
  readonly config: HeadConfig
  /** Module, without `base_model.model.` → index of the layer in our head. */
  readonly layers: Readonly<Record<string, number>>
}

/** The class that has such a head, by PEFT's name of the task; images have one class, and no name of a task. */
export function peftClass(model: ModelConfig, task: string | null): string | undefined {
  const ending = task === null ? model.imageSize && 'ForImageClassification' : taskClasses[task]
  if (ending == null) return undefined
  const base = classBase(model)
  return base === 'GPT2' && task === 'CAUSAL_LM' ? 'GPT2LMHeadModel' : base + ending
}

/** The classes for choices and for masked words, for which PEFT has no name of a task. */
export const choiceClass = (model: ModelConfig): string => `${classBase(model)}ForMultipleChoice`
export const maskedClass = (model: ModelConfig): string => `${classBase(model)}ForMaskedLM`

/**
 * The class with a head that a folder is for, where it holds nothing of that head and PEFT has no name for the task: its modules
 * have the names of that class. Undefined: another folder.
 */
export function classWithoutHead(folder: PeftFolder, model: ModelConfig): string | undefined {
  const { taskType, baseClass } = folder.config
  if (model.exported !== null || taskType !== null || baseClass === null) return undefined
  return baseClass.startsWith(`${classBase(model)}For`) && headModules(folder).length === 0 ? baseClass : undefined
}

const classBase = (model: ModelConfig): string => familyOf(model).adapterClass.replace(/AdapterModel$/, '')

/** A model class's head as one of ours; with `withPooler` the pooler is its first layer, not the base model's. */
export function headOfClass(
  model: ModelConfig,
  modelClass: string,
  labels: number,
  withPooler: boolean
): PeftHead | undefined {
  const found = convertStaticHead(modelClass, { num_labels: labels }) ?? decoderHead(model, modelClass, labels)
  if (found !== undefined && predictsWords(found.config)) return wordsOfClass(found, found.config, model)
  if (!withPooler || found === undefined) return found
  const { headType } = found.config
  if ((headType !== 'classification' && headType !== 'multiple_choice') || !found.config.usePooler) return undefined
  const labelled = headType === 'classification' && { num_labels: labels }
  const config = headConfigFromJson({ head_type: headType, layers: 2, activation_function: 'tanh', ...labelled })
  return { config, layers: { [prefixed('pooler.dense', model)]: 1, classifier: 4 } }
}

/** Stored whole, its output layer is a copy of the word embedding that learned. None where its activation learns, too. */
function wordsOfClass(
  { layers, takesHiddenAct }: ConvertedHead,
  config: LanguageHeadConfig,
  { hiddenAct }: ModelConfig
): PeftHead | undefined {
  if (takesHiddenAct && activationParameters(hiddenAct) > 0) return undefined
  const activationFunction = takesHiddenAct ? hiddenAct : config.activationFunction
  return { config: Object.freeze({ ...config, activationFunction, tied: false }), layers }
}

/** What a decoder's head reads is a row's last token, of the last hidden state. */
const readsLastToken = ({ isCausal, decoder, reading }: ExportedNetwork): boolean =>
  isCausal && decoder === null && reading.output === null && ['automatic', 'last'].includes(reading.pooling)

/** The head of a decoder that we know from an archive alone. */
function decoderHead(model: ModelConfig, modelClass: string, labels: number) {
  const { exported } = model
  if (exported === null || !readsLastToken(exported)) return undefined
  const ending = /For(SequenceClassification|TokenClassification|CausalLM)$/.exec(modelClass)?.[1]
  // All decoders have the first; the others differ from family to family (names, caps on logits).
  const isKnown =
    ending === 'SequenceClassification' || (ending === 'CausalLM' ? hasPlainWords(model) : isTokenClass(modelClass))
  return ending === undefined || !isKnown ? undefined : convertDecoderHead(ending as DecoderTask, labels)
}

/** Whether Python has the class of an archive's family that would hold a head. */
export function isClassOfPython(modelClass: string, { exported }: ModelConfig): boolean {
  if (exported === null) return true
  if (!exported.ofHuggingFace || !exported.isCausal) return exported.ofHuggingFace
  return convertStaticHead(modelClass, { num_labels: 1 }) !== undefined || isDecoderClass(modelClass)
}

/** Whether the class that writes makes its logits by one product and nothing behind it. */
export function hasPlainWords({ exported, modelType }: ModelConfig): boolean {
  if (exported === null) return true
  return (plainDecoders.has(modelType) || modelType === 'gpt2') && readsLastToken(exported)
}

const plainDecoders: ReadonlySet<string> = new Set(['llama', 'mistral', 'qwen2', 'qwen3', 'gemma', 'phi3'])

/**
 * The head that PEFT stored whole beside the adapter (modules_to_save); null where there is none.
 * @param problem instead of what the folder says of it, or does not say
 */
export function peftHead(folder: PeftFolder, model: ModelConfig, problem?: ProblemType): HeadFolder | null {
  const pooler = peftPooler(folder, model)
  const held = [...headModules(folder), ...(pooler === undefined ? [] : [pooler])]
  if (held.length === 0) return null
  const { config } = folder
  const folded = pooler === undefined ? [] : [foldedPooler(folder, pooler, model)]
  const modelClass = config.baseClass ?? peftClass(model, config.taskType)
  const withPooler = held.some((module) => module.endsWith('pooler.dense'))
  const found =
    modelClass === undefined ? undefined : headOfClass(model, modelClass, labelsOf(folder, held), withPooler)
  if (found === undefined) {
    const what = modelClass ?? 'a class that it does not name'
    throw refuse(folder, `the head of ${what} is not supported: ${held.join(', ')}`)
  }
  const wanted = Object.keys(found.layers)
  // A module around another one has that one's bias, once more.
  const isAround = (module: string) => wanted.some((other) => other.startsWith(`${module}.`))
  const apart = (modules: readonly string[]) => modules.filter((module) => !isAround(module)).sort()
  if (!isDeepStrictEqual(apart(held), apart(wanted))) {
    throw refuse(folder, `it holds ${held.join(', ')}, and the head of ${modelClass} is ${wanted.join(', ')}`)
  }
  const root = peftRoot(config)
  const layers = Object.fromEntries(Object.entries(found.layers).map(([module, index]) => [root + module, index]))
  return {
    folder: folder.folder,
    name: null,
    config: withProblem(withTie(found.config, config.tied), problem ?? config.problemType),
    weightsFile: folder.weightsFile,
    format: folder.format,
    layers,
    folded,
    model: { type: null, class: modelClass ?? null, name: config.baseModel, hiddenSize: null, placed: null }
  }
}

/** The pooler with an adapter at it is the first layer of a head: its weight is the base model's, and what the adapter does to it. */
function foldedPooler(folder: PeftFolder, module: string, model: ModelConfig): FoldedLinear {
  const { method } = folder.config
  const at = { module: peftRoot(folder.config) + module, source: prefixed('pooler.dense', model), scale: 1 }
  if (method.type === 'VERA') return { ...at, kind: 'vera' }
  if (method.type === 'IA3') {
    const onInput = matching(method.feedforwardModules, [module], '').has(module)
    return { ...at, kind: onInput ? 'ia3_input' : 'ia3' }
  }
  if (method.type !== 'LORA') throw refuse(folder, `it holds ${method.type} at ${module}`)
  const scale = loraScale(loraFields(method, [module])({ module }))
  return { ...at, kind: method.dora ? 'dora' : 'lora', scale }
}

/** Where the folder says that its output layer is the word embedding, the file's is only compared with it. */
const withTie = (config: HeadConfig, tied: boolean): HeadConfig =>
  config.headType === 'masked_lm' ? Object.freeze({ ...config, tied }) : config

function withProblem(config: HeadConfig, problem: ProblemType | null): HeadConfig {
  if (problem === null) return config
  if (readsRows(config)) return headOfProblem(config, problem)
  throw valueError('problemType', `is for heads with labels for rows, and the folder's is of type ${config.headType}`)
}

/** The Linears that the folder stores whole: they lie in a module that modules_to_save names, or that PEFT adds for the task. */
export function headModules(folder: PeftFolder): string[] {
  const { modulesToSave, taskType } = folder.config
  const saved = [...modulesToSave, ...(storedForTask[taskType ?? ''] ?? [])]
  // As PEFT does, by the ends of names: `lm_head` is `generator_lm_head`, too.
  const isSaved = (name: string) =>
    name.split('.').some((_, i, parts) => saved.some((end) => parts.slice(0, i).join('.').endsWith(end)))
  const modules = peftTensors(folder)
    .others.filter(isSaved)
    .map((name) => name.slice(0, name.lastIndexOf('.')))
  return [...new Set(modules)]
}

/** The outputs of the head's last layer, which its name tells. */
function labelsOf({ tensors, config }: PeftFolder, held: readonly string[]): number {
  const root = peftRoot(config)
  const last = held.find((module) => /(^|\.)(out_proj|score)$/.test(module)) ?? held.find((m) => m === 'classifier')
  return tensors.find(({ name }) => name === `${root}${last}.weight`)?.shape[0] ?? 1
}

/** Refuses modules of the base model that were stored whole: they learned, and every adapter here stands on the same base. */
export function checkStoredModules(folder: PeftFolder, model: ModelConfig): void {
  const start = `${prefixOf(model)}.`
  const ofBase = headModules(folder).filter(
    (module) => !module.endsWith('pooler.dense') && (module.startsWith(start) || baseModule.test(module))
  )
  if (ofBase.length > 0) throw storedWhole(folder, ofBase)
}

/** What the folder stores of the base model inside of an archive's class with a head; it may be what the network has anyway. */
export function storedInBase(folder: PeftFolder, { exported }: ModelConfig): string[] {
  const root = (path: string) => path.split('.')[0]
  const roots = new Set(exported?.linears.flatMap(({ path, layer }) => (layer < 0 ? [] : [root(path)])))
  return headModules(folder).filter((module) => !module.endsWith('pooler.dense') && roots.has(root(module)))
}

/** That modules of the base model learned. */
export function storedWhole(folder: PeftFolder, modules: readonly string[]): AdapterError {
  const { modulesToSave } = folder.config
  return new AdapterError(
    'ERR_UNSUPPORTED',
    operation,
    `${folder.folder} stores ${some(modules)} of the base model whole`,
    {
      expected: 'modules_to_save that name Linears of a head',
      got: `modules_to_save ${modulesToSave.join(', ')}`,
      hint: 'Merge it into its base model in Python (merge_and_unload), and load that model.'
    }
  )
}

/** As classes without a head call their modules. */
const baseModule = /^(embeddings|encoder|transformer|layers|h|wte|wpe|embed_tokens|norm|ln_f)(\.|$)/

function refuse({ folder }: PeftFolder, message: string): AdapterError {
  return new AdapterError('ERR_UNSUPPORTED', operation, `the head in ${folder} has no like here: ${message}`, {
    expected:
      'all layers of the head of a class that is known here (BERT: classifier, DistilBERT: pre_classifier and classifier, decoders: score)',
    hint: `Train it for such a class with modules_to_save that name all of them, or load it with withHead: false.`
  })
}
