import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import * as check from '../config/check.js'
import { type HeadConfig, predictsWords, tiedWeight } from '../config/head-config.js'
import { prefixed } from '../config/linear-paths.js'
import { readJsonObject } from '../config/read-json.js'
import {
  classConfigJson,
  classNames,
  isBareClass,
  type ModelParts,
  modelClasses,
  type NameInClass,
  needsHead,
  wordEmbedding
} from '../exchange/class-names.js'
import { defaultHead, isInStaticHead } from '../exchange/static-heads.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import { checkKnown } from './setup.js'
import { checkStateDict, type StateDict, type StateValue } from './state-dict.js'

/** Under whose names a state is. */
export interface ClassOptions {
  /**
   * A class of transformers: 'GPT2Model', 'GPT2LMHeadModel', 'BertForSequenceClassification'. What surgery inserted has the names
   * that the same surgery gives there.
   */
  readonly modelClass?: string | undefined
  /** Which head is the class's. Default: 'default', which a class's folder brings, else the active one. */
  readonly head?: string | undefined
}

/**
 * Every name of a tensor in several places with the one that namedParameters lists it by; buffers, which it does not list, with
 * their own.
 */
const firstNames = (model: Model): ReadonlyMap<string, string> => {
  const flat = nativeCall(() => model.native.sharedNames())
  return new Map(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i + 1] as string, flat[2 * i] as string]))
}

const wordsOf = (model: Model): string | undefined =>
  model.namedParameters().find(({ name, part }) => part === 'base' && wordEmbedding.test(name))?.name

/** The names of the word embedding in heads that are tied to it: PyTorch's state dict has them, namedParameters has not. */
function tiedNames(model: Model): NameInClass[] {
  const ours = wordsOf(model)
  const weights = Array.from(model.heads, ([name, config]) => ({ name, weight: tiedWeight(config) }))
  return weights.flatMap(({ name, weight }) =>
    ours === undefined || weight === null ? [] : [{ theirs: `heads.${name}.${weight}`, ours }]
  )
}

/** All that a state dict of Python's adapters has: it holds the word embedding for prompts, too, of which none need be there. */
function namesOfWords(model: Model): NameInClass[] {
  const ours = wordsOf(model)
  const theirs = prefixed('prompt_tuning.base_model_embeddings.weight', model.config)
  return [...tiedNames(model), ...(ours === undefined ? [] : [{ theirs, ours }])]
}

function partsOf(model: Model, modelClass: string, head: string | undefined): ModelParts {
  const { config, heads, headChoice } = model
  if (head !== undefined) checkKnown('head', head, heads)
  const kept = headChoice.kept
  const active = typeof kept === 'string' ? kept : null
  const answers = active !== null && predictsWords(heads.get(active) as HeadConfig)
  // GPT2LMHeadModel's words answer alone where no head for words is here.
  const wanted = needsHead(modelClass, config) || (answers && !isBareClass(modelClass, config))
  const name = head ?? (heads.has(defaultHead) ? defaultHead : wanted ? active : null)
  const own = name === null ? undefined : heads.get(name)
  const parameters = model.namedParameters()
  const inModel = new Set(
    parameters
      .filter(({ part, name: each }) => part === 'base' || part === 'inserted' || each.startsWith('heads.'))
      .map((each) => each.name)
  )
  // Buffers are in no list of parameters: they are of the module whose parameters are.
  const moduleOf = (name: string) => name.slice(0, name.lastIndexOf('.'))
  const modules = new Set([...inModel].map(moduleOf))
  const isOne = (name: string) => inModel.has(name) || modules.has(moduleOf(name))
  const more = [...firstNames(model)].filter(([, first]) => isOne(first)).map(([other]) => other)
  const names = [...inModel, ...more]
  return { config, names, head: own === undefined || name === null ? null : { name, config: own } }
}

function namesOf(model: Model, modelClass: string, head: string | undefined) {
  const parts = partsOf(model, check.checkNonEmptyString('modelClass', modelClass), head)
  return { parts, names: classNames(modelClass, parts) }
}

/** What the bare class has, and where it is here; a network from an archive has its own names. */
export function bareNames(model: Model): readonly NameInClass[] {
  const [bare] = modelClasses(model.config)
  if (bare !== undefined) return namesOf(model, bare, undefined).names
  return model.namedParameters().flatMap(({ name, part }) => (part === 'base' ? [{ theirs: name, ours: name }] : []))
}

/** Copies of a model's values by name: those of PyTorch's state dict, or what the class has. */
export function stateDict(model: Model, options: ClassOptions): Map<string, StateValue> {
  checkOptions(options, ['modelClass', 'head'])
  const { modelClass, head } = options
  const firsts = firstNames(model)
  if (modelClass === undefined && head !== undefined) throw check.valueError('head', 'is for a modelClass; name one')
  const own = () => asTheyAre([...model.namedParameters().map(({ name }) => name), ...firsts.keys()])
  const names = modelClass === undefined ? [...own(), ...tiedNames(model)] : namesOf(model, modelClass, head).names
  return valuesOf(model, names, firsts)
}

const asTheyAre = (names: readonly string[]): NameInClass[] => names.map((name) => ({ theirs: name, ours: name }))

/** Copies values into parameters by the names of stateDict; of a tensor under several the last counts, as in PyTorch. */
export function loadStateDict(model: Model, values: StateDict): void {
  const words = new Map([
    ...firstNames(model),
    ...namesOfWords(model).map(({ theirs, ours }) => [theirs, ours] as const)
  ])
  const all = Array.from(checkStateDict(values), ([name, value]) => [words.get(name) ?? name, value] as const)
  nativeCall(() => model.native.setParameters(new Map(all)))
}

/** Copies of these values. */
export const valuesOf = (model: Model, names: readonly NameInClass[], firsts = firstNames(model)) =>
  new Map<string, StateValue>(names.map(({ theirs, ours }) => [theirs, model.parameter(firsts.get(ours) ?? ours)]))

export const flat = (names: readonly NameInClass[]) => names.flatMap(({ theirs, ours }) => [theirs, ours])

/** What a folder of a class has: its config.json, and its names, one pair of the file's and ours after the other. */
export function classFolder(
  model: Model,
  { modelClass, head }: ClassOptions & { readonly modelClass: string }
): { readonly json: Record<string, unknown>; readonly names: readonly string[] } {
  const { parts, names } = namesOf(model, modelClass, head)
  const inHead = model.namedParameters().find(({ name, part }) => part === 'inserted' && name.startsWith('heads.'))
  if (inHead !== undefined && names.some(({ ours }) => ours === inHead.name)) {
    const problem = `surgery has put '${inHead.name}' into the head, which no folder's record has`
    throw new AdapterError('ERR_UNSUPPORTED', 'savePretrained', problem, {
      hint: 'stateDict has the names; undo it, or save the model without modelClass.'
    })
  }
  return { json: classConfigJson(modelClass, parts), names: flat(names) }
}

/** Weights under PyTorch's names into a model that had the same surgery. */
export async function loadWeights(model: Model, path: string, options: ClassOptions): Promise<void> {
  checkOptions(options, ['modelClass', 'head'])
  check.checkNonEmptyString('path', path)
  if (!existsSync(path)) {
    throw new AdapterError('ERR_FILE_NOT_FOUND', 'load the weights', `there is no file or folder '${path}'`, {
      hint: 'Give a file of weights, or the folder of a model.'
    })
  }
  const { modelClass = classOfFolder(model, path), head } = options
  const bare = modelClasses(model.config)[0]
  const own = partsOf(model, bare ?? '', undefined).names
  const inBase = own.filter((name) => !name.startsWith('heads.'))
  const ofClass = modelClass === undefined ? [] : namesOf(model, modelClass, head).names
  // The bare class's names, and those of a class with a head, lie in files of either.
  const firsts = firstNames(model)
  const buffers = [...firsts].flatMap(([name, first]) => (name === first ? [name] : []))
  const accepted = [
    ...own.map((name) => ({ theirs: name, ours: firsts.get(name) ?? name })),
    ...asTheyAre(buffers),
    ...namesOfWords(model),
    ...(bare === undefined ? [] : namesOf(model, bare, undefined).names),
    ...ofClass
  ]
  const inClass = new Set(ofClass.map(({ ours }) => ours))
  // Classes with a head of their own for words have no pooler.
  const isNeeded = (name: string) => (inClass.size > 0 ? inClass.has(name) : !/(^|\.)pooler\./.test(name))
  const firstOnes = inBase.filter((name) => isNeeded(name) && !firsts.has(name))
  const required = [...firstOnes, ...[...inClass].filter((name) => name.startsWith('heads.'))]
  try {
    await nativeCall(() => model.native.loadState(path, flat(accepted), required))
  } catch (error) {
    throw modelClass === undefined ? withClasses(model, error) : error
  }
}

/** Where the file's names are those of classes with a head, says so: a file alone does not tell which it is of. */
function withClasses(model: Model, error: unknown): unknown {
  if (!(error instanceof AdapterError) || error.code !== 'ERR_STATE_DICT') return error
  const names = [...error.problem.matchAll(/'([^']+)'/g)].map(([, name]) => name as string)
  const classes = modelClasses(model.config).filter((each) => names.some((name) => isInStaticHead(each, name)))
  if (classes.length === 0) return error
  const { code, operation, problem, cause } = error
  const hint = `A head's names are read with { modelClass: '${classes.join("' or '")}' }, into a head that is here.`
  return new AdapterError(code, operation, problem.slice(`${operation}: `.length), { hint, cause })
}

/** The class that a folder's config.json names, where it is one of this model's. */
function classOfFolder(model: Model, path: string): string | undefined {
  const file = join(path, 'config.json')
  if (!statSync(path).isDirectory() || !existsSync(file)) return undefined
  const { architectures } = readJsonObject(file, 'load the weights')
  const name = Array.isArray(architectures) ? String(architectures[0]) : ''
  return modelClasses(model.config).includes(name) ? name : undefined
}
