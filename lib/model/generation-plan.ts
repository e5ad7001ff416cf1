import * as check from '../config/check.js'
import { type HeadConfig, predictsWords } from '../config/head-config.js'
import { isCausal } from '../config/model-config.js'
import { type CollatedBatch, collate, encodeRow } from '../data/collate.js'
import { placeOf, type Row, takeRow } from '../data/dataset.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { NativeForwardOptions, NativeGenerateOptions, NativeSetup } from '../native/pass-types.js'
import type { NativeModel } from '../native/types.js'
import { headOfRow, headRule } from './head-rule.js'
import type { Model } from './model.js'
import { limitsUnder } from './row-room.js'
import {
  type AdapterSetup,
  indexSetups,
  type RowAdapters,
  rowSetups,
  setupNames,
  type TaskIds,
  taskIdsOf
} from './setup.js'
import { type SkipLayers, skippedLayers } from './skip-layers.js'

/** Hugging Face's GenerationConfig, as far as it goes. */
export interface GenerateOptions extends SkipLayers {
  /** Default 20. */
  readonly maxNewTokens?: number | undefined
  /** Draw the next token instead of taking the likeliest. Default false. */
  readonly doSample?: boolean | undefined
  /** Logits are divided by it before a draw. Default 1. */
  readonly temperature?: number | undefined
  /** Only the likeliest so many are drawn from; 0: all. Default 50. */
  readonly topK?: number | undefined
  /** Of these, the fewest that hold this much of the probability. Default 1. */
  readonly topP?: number | undefined
  /** Tokens that end a row; null: none. Default: what the model's config says. */
  readonly eosTokenId?: number | readonly number[] | null | undefined
  /** Of the draws: each row has its own, by its number, whatever rows stand beside it. Default 42: the same text each time. */
  readonly seed?: number | undefined
  /** A number for each row, for its draws. Give them where rows of one seed come in several calls. Default: 0, 1, 2, … */
  readonly rowNumbers?: readonly number[] | undefined
  /** Which adapters run; with an array each row has its own. Default: the active ones. */
  readonly adapters?: RowAdapters | undefined
  /** A causal_lm head for all rows; null: the word embedding itself. Default: the one that `activeHead` describes where it is one, else null. */
  readonly head?: string | null | undefined
  /** For MultiTask blocks: for each row the child that it goes to, by name or number. Default: the rows' own taskId. */
  readonly taskIds?: TaskIds | undefined
  /** Stops between two tokens; the call then rejects with the signal's reason, and nothing of it is left. */
  readonly signal?: AbortSignal | undefined
}

const keys = [
  'maxNewTokens',
  'doSample',
  'temperature',
  'topK',
  'topP',
  'eosTokenId',
  'seed',
  'rowNumbers',
  'adapters',
  'skipLayers',
  'head',
  'taskIds',
  'signal'
]

let lastStopId = 0

/** What the model writes, unless the signal stops it. */
export async function stoppable<T>(
  native: NativeModel,
  signal: AbortSignal | undefined,
  work: (stopId: number) => Promise<T>
): Promise<T> {
  if (signal === undefined) return await nativeCall(() => work(0))
  signal.throwIfAborted()
  const id = ++lastStopId
  const stop = () => native.stopGenerating(id)
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await nativeCall(() => work(id))
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
  }
}

/** Rows to go on from, ready for the core. */
export interface GenerationPlan {
  /** Its `order` has the caller's row for each of the batch. */
  readonly batch: CollatedBatch
  readonly pass: NativeForwardOptions
  readonly how: Omit<NativeGenerateOptions, 'stopId'>
}

/** Options of Hugging Face's `generate` that are others here, or none. */
const elsewhere: Readonly<Record<string, string>> = {
  maxLength: 'is maxNewTokens here, without the prompt',
  numBeams: 'is not here: there are no beams',
  repetitionPenalty: 'is not here: there are no penalties',
  stop: 'is not here: eosTokenId ends a row',
  stopStrings: 'is not here: eosTokenId ends a row'
}

/** Undefined where there are no rows. */
export function planGeneration(
  model: Model,
  rows: readonly (Row | string)[],
  options: GenerateOptions
): GenerationPlan | undefined {
  const given = check.checkObject('options', options)
  check.checkKeys('options', given, keys, (key) => (Object.hasOwn(elsewhere, key) ? elsewhere[key] : undefined))
  check.checkCommonOptions(given)
  if (model.config.exported !== null) {
    throw new AdapterError('ERR_UNSUPPORTED', 'generate', 'an exported network does not write', {
      expected: 'a model of our own family, such as gpt2 from its folder',
      got: 'an archive of torch.export, whose graph keeps no keys and values from token to token',
      hint: 'It trains, and answers with its heads: predict.'
    })
  }
  if (!isCausal(model.config)) {
    throw new AdapterError('ERR_UNSUPPORTED', 'generate', 'this model does not write', {
      expected: 'a causal language model, such as one of type gpt2',
      got: `a model of type ${model.config.modelType}`
    })
  }
  const how = howOf(model, options)
  const checked = check.checkArray('rows', rows).map((row, i) => takeRow(row, `rows[${i}]`))
  const { adapters = model.activeAdapters, taskIds = taskIdsOf(checked) } = options
  if (!Array.isArray(adapters)) setupNames(adapters as AdapterSetup, model.known)
  if (checked.length === 0) return undefined
  const setups = rowSetups(adapters, { rows: checked.length, taskIds }, model.known)
  if (setups.some(hasSplit)) throw withoutTokens()
  const head = headOf(model, options, setups)
  const skipLayers = skippedLayers(model, options)
  const { tokenizer, source } = model
  const encoded = setups.map((setup, i) => {
    const row = checked[i % checked.length] as Row
    return encodeRow(row, { tokenizer, source, limits: limitsUnder(model, [setup]) }, placeOf(row, `rows[${i}]`))
  })
  // Rows of one setup stay side by side, and among them those of one length.
  const known = new Map<string, number>()
  const groups = setups.map((setup) => {
    const key = JSON.stringify(setup)
    return known.get(key) ?? known.set(key, known.size).size - 1
  })
  const batch = collate(encoded, groups)
  const pass = { ...indexSetups(Array.from(batch.order, (row) => setups[row] ?? null)), head, skipLayers }
  const numbers = rowNumbersOf(options, checked.length)
  // Of a row that goes several ways (Parallel) each has draws of its own.
  const rowNumbers = Array.from(
    batch.order,
    (place) => (numbers[place % checked.length] ?? 0) + Math.floor(place / checked.length) * 2 ** 32
  )
  return { batch, pass, how: { ...how, rowNumbers } }
}

function rowNumbersOf({ rowNumbers }: GenerateOptions, rows: number): readonly number[] {
  if (rowNumbers === undefined) return Array.from({ length: rows }, (_, i) => i)
  if (check.checkArray('rowNumbers', rowNumbers).length !== rows)
    throw check.rangeError('rowNumbers', `one for each of ${rows} rows`, rowNumbers.length)
  return rowNumbers.map((one, i) => check.checkInteger(`rowNumbers[${i}]`, one, 0, 2 ** 32 - 1))
}

function howOf(model: Model, options: GenerateOptions) {
  const { vocabSize, eosTokenId } = model.config
  const ends = options.eosTokenId === undefined ? eosTokenId : options.eosTokenId
  const list = ends === null ? [] : Array.isArray(ends) ? (ends as readonly number[]) : [ends as number]
  const limit = options.eosTokenId == null ? undefined : vocabSize - 1
  return {
    ...checkGenerate(options),
    endTokens: list.map((id) => check.checkInteger('eosTokenId', id, 0, limit))
  }
}

/** @internal What can be checked of the options without a model. */
export function checkGenerate(options: GenerateOptions) {
  const { doSample = false, temperature = 1, topK = 50, topP = 1 } = options
  const ofDraws = [temperature !== 1 && 'temperature', topK !== 50 && 'topK', topP !== 1 && 'topP']
  const first = ofDraws.find((name) => name !== false)
  const checked = {
    maxNewTokens: check.checkInteger('maxNewTokens', options.maxNewTokens ?? 20, 1, 1 << 20),
    doSample,
    temperature: check.checkNumber('temperature', temperature, { above: 0 }),
    topK: check.checkInteger('topK', topK, 0),
    topP: check.checkNumber('topP', topP, { above: 0, to: 1 }),
    seed: check.checkInteger('seed', options.seed ?? 42, 0)
  }
  if (first === undefined || doSample) return checked
  const how = 'add doSample: true, on the command line --do-sample'
  throw check.valueError(first, `it says how tokens are drawn, and without doSample the likeliest is taken: ${how}`)
}

const hasSplit = (setup: NativeSetup): boolean =>
  typeof setup === 'object' && setup !== null && (setup.type === 'split' || setup.children.some(hasSplit))

function withoutTokens(): AdapterError {
  const problem = 'Split shares out all tokens of a row, and a row that is being written has more with each step'
  return new AdapterError('ERR_UNSUPPORTED', 'generate', problem, {
    expected: 'adapters without a Split block, such as a Stack or an Average of them'
  })
}

/** The one head that writes: that of the rule where it is a causal_lm head, else none. */
function headOf(model: Model, options: GenerateOptions, setups: readonly NativeSetup[]): string | null {
  const rule = headRule(model, options)
  const writes = (name: string | null) => name !== null && predictsWords(model.heads.get(name) as HeadConfig)
  const names = new Set(
    setups.map((setup) => headOfRow(rule, model.heads, setup)).map((name) => (writes(name) ? name : null))
  )
  const [name = null] = names
  if (names.size > 1) {
    const got = [...names].map((one) => one ?? 'none').join(', ')
    throw check.valueError(
      'head',
      `the rows of one call write with one head, and these have ${got}; name one with head`
    )
  }
  if (name === null && !model.config.tieWordEmbeddings) throw withoutWords()
  if (options.head == null || name !== null) return name
  throw check.valueError('head', `expected the name of a causal_lm head, or null, got '${options.head}'`)
}

function withoutWords(): AdapterError {
  const problem = 'this model writes through an output layer of its own, not the word embedding, and it is not here'
  return new AdapterError('ERR_UNSUPPORTED', 'generate', problem, {
    expected:
      "a causal_lm head: with tie_word_embeddings: false in the model's config.json none is in the word embedding",
    hint: "Load GPT2LMHeadModel's folder with its head (withHead: true), or train one: addCausalLmHead(name, { tied: false })."
  })
}
