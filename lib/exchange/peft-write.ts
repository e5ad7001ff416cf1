import type { AdapterConfig } from '../config/adapter-config.js'
import { type HeadConfig, hasManyLabels, type MaskedLmHeadConfig, predictsWords } from '../config/head-config.js'
import { hasMergedProduct, prefixed } from '../config/linear-paths.js'
import { type LoraConfig, loraPlaces, plainAlpha } from '../config/lora-config.js'
import { linearsOf, modelLinears } from '../config/lora-targets.js'
import type { ModelConfig } from '../config/model-config.js'
import type { ProblemType } from '../config/peft-config.js'
import { pythonJson } from '../config/python-json.js'
import { AdapterError } from '../native/errors.js'
import { autoMapping, baseClassOf, headApart } from './peft-class.js'
import { choiceClass, hasPlainWords, headOfClass, isClassOfPython, maskedClass, peftClass } from './peft-head.js'
import {
  type MultiheadAttention,
  type MultiheadForms,
  multiheadForms,
  multiheadNames,
  outputsAlone,
  passedBy
} from './peft-multihead.js'
import { peftPromptJson } from './peft-prompt.js'
import { isSameHead } from './same-head.js'

const operation = 'save the PEFT adapter'
const floatKeys: ReadonlySet<string> = new Set(['lora_dropout', 'vera_dropout', 'd_initial'])

/** Where PEFT keeps a head like ours, and how it calls the task; an error where no class has such a head. */
export interface PeftHeadPlan {
  /** Null: PEFT has no name for it, and the file names the class. */
  readonly task: string | null
  readonly modelClass?: string
  /** Module of the class → index of the layer in our head. */
  readonly layers: Readonly<Record<string, number>>
  /** Where a row may have several labels: PEFT's folders have no field for it. */
  readonly problemType?: ProblemType
  /** The output layer of ours is the word embedding, of which the class stores a copy. */
  readonly tied?: boolean
}

/**
 * The content of PEFT's adapter_config.json.
 * @param ownModules what the file holds of an exported class's own head
 * @param modules paths of all modules of an exported network: a target names none of them but its Linears
 * @param attentions its nn.MultiheadAttention
 * Throws ERR_UNSUPPORTED for what PEFT does not compute. */
export function peftJson(
  config: AdapterConfig,
  model: ModelConfig,
  head: PeftHeadPlan | null,
  ownModules: readonly string[] = [],
  modules: readonly string[] = [],
  attentions: readonly MultiheadAttention[] = []
): string {
  if (config.method === 'prefix_tuning' || config.method === 'prompt_tuning') {
    const common = commonJson(model, head, ownModules)
    return `${pythonJson(peftPromptJson(config, model, common), { indent: 2, floatKeys })}\n`
  }
  const parts = ofOneScale(peftParts(config)).flatMap((part) => ofWhole(part, model))
  const multihead = multiheadForms(parts, model, attentions)
  const names = parts.map((part) => namesOf(part, model, head !== null, multihead))
  const all = names.flat()
  const outputs = [...passedBy(parts, model, attentions, multihead), ...outputsAlone(multihead, model)]
  const json = {
    ...commonJson(model, head, ownModules, outputs),
    // Conv1D keeps a weight the other way round.
    fan_in_fan_out: isTransposed(model, all),
    target_modules: all,
    ...methodJson(parts, names)
  }
  // PEFT wants feedforward_modules to be among target_modules, letter by letter.
  const targets = 'feedforward_modules' in json ? all : shortNames(parts, all, model, modules, multihead)
  return `${pythonJson({ ...json, target_modules: targets }, { indent: 2, floatKeys })}\n`
}

function commonJson(
  model: ModelConfig,
  head: PeftHeadPlan | null,
  ownModules: readonly string[],
  outputs: readonly string[] = []
): Record<string, unknown> {
  const modules = head === null ? ownModules : savedModules(head)
  const { task, modelClass = null } = head ?? baseClassOf(model, ownModules.length > 0)
  const noted = {
    ...(head?.problemType !== undefined && { problem_type: head.problemType }),
    ...(head?.tied === true && { tied: true }),
    ...(outputs.length > 0 && { out_proj: outputs })
  }
  return {
    base_model_name_or_path: model.nameOrPath === '' ? null : model.nameOrPath,
    task_type: task,
    ...(modelClass !== null && { auto_mapping: autoMapping(modelClass, model) }),
    inference_mode: true,
    modules_to_save: modules.length === 0 ? null : modules,
    // PEFT tells of a field that it does not know, and goes on.
    ...(Object.keys(noted).length > 0 && { torch_adapters: noted })
  }
}

/**
 * PEFT has one LoRA or (IA)³ for query, key and value where one product makes them: of n factors side by side that is one of n
 * times the rank.
 */
function ofWhole(part: LoraConfig, model: ModelConfig): LoraConfig[] {
  const { attnMatrices, selfattnLora, r, alpha } = part
  const own = attnMatrices.filter((matrix) => matrix !== 'o' && matrix !== 'qkv')
  if (!hasMergedProduct(model) || part.targetModules !== null || !selfattnLora || own.length === 0) return [part]
  if (part.veraD !== null || part.useDora !== false) {
    const what = part.veraD !== null ? 'VeRA' : 'DoRA'
    throw new AdapterError(
      'ERR_UNSUPPORTED',
      operation,
      `PEFT has ${what} only for query, key and value together here`,
      {
        expected: "attnMatrices ['qkv']",
        got: `attnMatrices ${own.join(', ')}`,
        hint: "Train it with attnMatrices ['qkv'], or save it for the adapters library: library: 'adapters'."
      }
    )
  }
  const n = part.compositionMode === 'add' ? own.length : 1
  const whole = {
    attnMatrices: ['qkv'],
    r: n * r,
    alpha: part.useRslora ? Math.sqrt(n) * alpha : n * alpha,
    intermediateLora: false,
    outputLora: false
  } as const
  const hasOutput = attnMatrices.includes('o')
  const rest = hasOutput || part.intermediateLora || part.outputLora
  const others = part.replace.bind(part)
  return [
    part.replace(whole),
    ...(rest ? [others({ attnMatrices: hasOutput ? ['o'] : [], selfattnLora: hasOutput })] : [])
  ]
}

/** use_rslora is one field for all: where parts differ in it, their alphas say the same. */
function ofOneScale(parts: readonly LoraConfig[]): readonly LoraConfig[] {
  if (parts.every(({ useRslora }) => useRslora === parts[0]?.useRslora)) return parts
  return parts.map((part) => part.replace({ alpha: plainAlpha(part), useRslora: false }))
}

/** Whether PEFT has all of it: LoRA, DoRA in PEFT's own form, IA³ or VeRA, and no gate. */
export function peftParts(config: AdapterConfig): readonly LoraConfig[] {
  const parts = config.method === 'union' ? config.configs : [config]
  const problem = parts.map(problemOf).find((one) => one !== undefined) ?? mixture(parts as readonly LoraConfig[])
  if (problem === undefined) return parts as readonly LoraConfig[]
  throw new AdapterError('ERR_UNSUPPORTED', operation, `PEFT does not compute ${problem.what}`, {
    expected: "LoRA, DoRA (useDora: 'peft'), IA³ or VeRA without a gate, or a prefix or prompt in PEFT's form, alone",
    hint: problem.hint ?? "Save it for the adapters library: library: 'adapters'."
  })
}

/** The adapter library has no Linears by name. */
function doraHint({ targetModules }: LoraConfig): string {
  const other = targetModules === null ? ", or save it for the adapters library: library: 'adapters'" : ''
  return `Train it in PEFT's form, useDora: 'peft' ("lora[use_dora='peft']")${other}.`
}

function problemOf(part: AdapterConfig): { what: string; hint?: string } | undefined {
  if (part.method !== 'lora') return { what: `the method '${part.method}'` }
  if (part.useGating) return { what: 'a gate (useGating)' }
  if (part.useDora === true) {
    return {
      what: 'DoRA as the adapter library does (useDora: true)',
      hint: doraHint(part)
    }
  }
  if (part.veraD !== null && part.useDora !== false) return { what: 'VeRA with DoRA' }
  if (part.veraD !== null && part.alpha !== part.r)
    return {
      what: `VeRA with a scale: alpha ${part.alpha}, r ${part.r}`,
      hint: `Give it alpha: ${part.r}, or save it for the adapter library.`
    }
  if (part.compositionMode !== 'add' && part.alpha !== 1) return { what: `IA³ with alpha ${part.alpha}` }
  return undefined
}

const kindOf = (part: LoraConfig) => (part.compositionMode !== 'add' ? 'IA3' : part.veraD !== null ? 'VERA' : 'LORA')

/** Rank and alpha may differ from place to place; the rest is one for all. */
function mixture(parts: readonly LoraConfig[]): { what: string; hint?: string } | undefined {
  const different = (of: (part: LoraConfig) => unknown) => new Set(parts.map(of)).size > 1
  if (different(kindOf)) return { what: 'several methods under one name' }
  if (different((part) => part.dropout)) return { what: 'another dropout at each place' }
  if (different((part) => part.useDora)) return { what: 'DoRA at some places and LoRA at others' }
  return parts.length > 1 && parts[0]?.veraD !== null ? { what: 'VeRA in several parts' } : undefined
}

function namesOf(part: LoraConfig, model: ModelConfig, withPrefix: boolean, multihead: MultiheadForms): string[] {
  const paths = linearsOf(part, loraPlaces(part), model).flatMap(({ path }) => multiheadNames(path, multihead))
  return paths.map((path) => (withPrefix ? prefixed(path, model) : path))
}

function isTransposed(model: ModelConfig, names: readonly string[]): boolean {
  if (model.exported === null) return model.modelType === 'gpt2'
  return model.exported.linears.some(({ path, transposed }) => transposed && names.some((name) => name.endsWith(path)))
}

function methodJson(parts: readonly LoraConfig[], names: readonly (readonly string[])[]): Record<string, unknown> {
  const [first] = parts
  if (first === undefined) return {}
  const kind = kindOf(first)
  if (kind === 'IA3') {
    const onInput = names.filter((_, i) => parts[i]?.compositionMode === 'scale_input').flat()
    return { peft_type: kind, feedforward_modules: onInput, init_ia3_weights: true }
  }
  if (kind === 'VERA') {
    return {
      ...{ peft_type: kind, r: first.r, vera_dropout: first.dropout, d_initial: first.veraD, bias: 'none' },
      ...{ save_projection: true, projection_prng_key: 0, init_weights: true }
    }
  }
  const patterns = (of: (part: LoraConfig) => number) =>
    Object.fromEntries(
      parts.flatMap((part, i) => (of(part) === of(first) ? [] : (names[i] ?? []).map((n) => [n, of(part)])))
    )
  return {
    ...{ peft_type: kind, r: first.r, lora_alpha: first.alpha, lora_dropout: first.dropout, bias: 'none' },
    ...{ use_dora: first.useDora !== false, use_rslora: first.useRslora, init_lora_weights: true },
    ...{ rank_pattern: patterns((part) => part.r), alpha_pattern: patterns((part) => part.alpha) },
    ...{ layers_to_transform: null, layers_pattern: null }
  }
}

/** Ends of names where they name the same Linears: `query` instead of one name for each layer. */
function shortNames(
  parts: readonly LoraConfig[],
  wanted: readonly string[],
  model: ModelConfig,
  modules: readonly string[],
  multihead: MultiheadForms
): readonly string[] {
  const all = [...modelLinears(model).map(({ path }) => path), ...modules]
  // Heads and poolers have a `dense`, too.
  const named = (end: string) =>
    [...all, 'pooler.dense', 'classifier.dense'].filter((name) => name === end || name.endsWith(`.${end}`))
  // Names of a class with a head have its prefix before those here.
  const here = new Set(all)
  const isWanted = (name: string) => wanted.some((one) => one === name || (!here.has(one) && one.endsWith(`.${name}`)))
  const tails = new Set(
    parts.flatMap((part) => namesOf(part, model, false, multihead)).map((path) => path.replace(/^.*\.\d+\./, ''))
  )
  const ends = [...tails].map((tail) => {
    const steps = tail.split('.')
    const candidates = steps.map((_, i) => steps.slice(-i - 1).join('.'))
    return candidates.find((end) => named(end).every(isWanted))
  })
  // One end may name two places.
  return ends.every((end) => end !== undefined) ? [...new Set(ends)] : wanted
}

/** The modules of a class that hold a head's layers: `pooler` for `bert.pooler.dense`. */
function savedModules({ layers }: PeftHeadPlan): string[] {
  const modules = Object.keys(layers).map((module) => {
    const steps = module.split('.')
    return steps.includes('pooler') ? 'pooler' : (steps[0] ?? module)
  })
  return [...new Set(modules)]
}

/** Of a class whose head is the base model's own words: nothing is stored, and names begin with the prefix. */
export const wordsPlan: PeftHeadPlan = Object.freeze({ task: 'CAUSAL_LM', layers: {} })

/** A copy of those words, which learned: PEFT stores the class's output layer whole. */
const ownWordsPlan: PeftHeadPlan = Object.freeze({ task: 'CAUSAL_LM', layers: { lm_head: 0 } })

export const isOwnWords = (head: HeadConfig): boolean =>
  head.headType === 'causal_lm' && head.tied && head.layers <= 1 && !head.bias

const isOwnOutput = (head: HeadConfig): boolean =>
  head.headType === 'causal_lm' && !head.tied && head.layers === 1 && !head.bias

/** PEFT's name of what a head does; null: it has none. */
function taskOf({ headType }: HeadConfig): string | null {
  if (headType === 'multiple_choice') return null
  if (headType === 'question_answering') return 'QUESTION_ANS'
  return headType === 'tagging' ? 'TOKEN_CLS' : 'SEQ_CLS'
}

/** The class whose head computes what ours does. */
export function peftHeadPlan(name: string, head: HeadConfig, model: ModelConfig): PeftHeadPlan {
  if (head.headType === 'masked_lm') return maskedPlan(name, head, model)
  // Where the class's words are another output layer than the word embedding, only a folder that holds one answers alike.
  const isTied = model.exported === null || model.tieWordEmbeddings
  const plan = isOwnWords(head) ? isTied && wordsPlan : isOwnOutput(head) && ownWordsPlan
  if (plan && hasPlainWords(model)) return plan
  if (predictsWords(head) || head.headType === 'dependency_parsing') {
    const own = head.headType === 'causal_lm' && hasPlainWords(model)
    const forms = isTied ? ", the model's own words or (tied: false) a copy of them" : ', and tied: false'
    throw new AdapterError('ERR_UNSUPPORTED', operation, `PEFT's folders hold no head like '${name}'`, {
      expected: own
        ? `causal_lm with layers: 1 and bias: false${forms}`
        : 'labels for rows or tokens, ends of an answer, choices, or masked words',
      got: own ? `layers: ${head.layers}, bias: ${head.bias}, tied: ${head.tied}` : head.headType,
      hint: headApart
    })
  }
  const task = model.imageSize !== null ? null : taskOf(head)
  const modelClass = peftClass(model, task) ?? choiceClass(model)
  const labels = 'numLabels' in head ? head.numLabels : 0
  for (const withPooler of [false, true]) {
    const found = headOfClass(model, modelClass, labels, withPooler)
    if (found !== undefined && isSameHead(found.config, head) && isClassOfPython(modelClass, model))
      return {
        ...{ task, modelClass, layers: found.layers },
        ...(hasManyLabels(head) && { problemType: 'multi_label_classification' as const })
      }
  }
  throw noLike(name, head, modelClass, model, headOfClass(model, modelClass, labels, false)?.config)
}

/** Words have no labels, and what the class stores of a tied output layer is a copy of the word embedding. */
function maskedPlan(name: string, head: MaskedLmHeadConfig, model: ModelConfig): PeftHeadPlan {
  const modelClass = maskedClass(model)
  const found = headOfClass(model, modelClass, 0, false)
  if (found === undefined || !isSameHead(found.config, { ...head, tied: false })) {
    throw noLike(name, head, modelClass, model, found?.config)
  }
  return { task: null, modelClass, layers: found.layers, tied: head.tied }
}

function noLike(
  name: string,
  head: HeadConfig,
  modelClass: string,
  model: ModelConfig,
  theirs?: HeadConfig
): AdapterError {
  if (!isClassOfPython(modelClass, model)) return noClass(name, head, modelClass, model)
  // Heads that are told apart by more than their form have nothing to compare.
  const kind = theirs?.headType === head.headType ? theirs : undefined
  const entries = Object.entries(kind ?? {}).filter(([key]) => formFields.includes(key))
  const given = head as unknown as Readonly<Record<string, unknown>>
  const other = entries.filter(([key, value]) => given[key] !== value)
  const written = (fields: readonly (readonly [string, unknown])[]) => JSON.stringify(Object.fromEntries(fields))
  const whole = theirs === undefined ? 'a class whose head is known here' : 'a head of that class'
  return new AdapterError('ERR_UNSUPPORTED', operation, `${modelClass} has no head like '${name}'`, {
    expected: other.length === 0 ? whole : written(other),
    got: other.length === 0 ? JSON.stringify(head) : written(other.map(([key]) => [key, given[key]])),
    hint: headApart
  })
}

/** PEFT finds a head in a class, and there is none for it. */
function noClass(name: string, head: HeadConfig, modelClass: string, { exported }: ModelConfig): AdapterError {
  const problem = exported?.ofHuggingFace
    ? `PEFT's folders hold the head of a class of transformers, which has no ${modelClass} for '${name}'`
    : `PEFT's folders hold the head of a class of transformers, which ${exported?.className} has none of for '${name}'`
  return new AdapterError('ERR_UNSUPPORTED', operation, problem, {
    expected: 'a network of transformers that has such a class, or an adapter alone',
    got: head.headType,
    hint: headApart
  })
}

const formFields = ['layers', 'activationFunction', 'bias', 'usePooler', 'layerNorm', 'embeddingSize', 'tied']
