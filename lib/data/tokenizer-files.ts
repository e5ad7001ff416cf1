import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isPlainObject } from '../config/check.js'
import { readJsonObject } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'
import { withConfiguredParts } from './configured-parts.js'
import { partsOf } from './tokenizer-parts.js'
import { hasVocabulary, largestTokenizer, readVocabulary, vocabularyFiles } from './vocabulary-files.js'

export interface TokenizerFiles {
  /** The content of tokenizer.json. */
  readonly model: Readonly<Record<string, unknown>>
  /** The content of tokenizer_config.json, its token objects replaced by their text. */
  readonly config: Readonly<Record<string, unknown>>
}

const operation = 'read the tokenizer'

/** Every file that a tokenizer may be read from. */
export const tokenizerFiles: readonly string[] = [
  ...['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'],
  ...vocabularyFiles
]

export function hasTokenizer(folder: string): boolean {
  return existsSync(join(folder, 'tokenizer.json')) || hasVocabulary(folder, () => readConfig(folder))
}

export function readTokenizerFiles(folder: string): TokenizerFiles {
  const config = readConfig(folder)
  const tokens = (from: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.entries(from).map(([key, value]) => [key, tokenText(value)]))
  const file = join(folder, 'tokenizer.json')
  if (existsSync(file)) {
    const model = readJsonObject(file, operation, largestTokenizer)
    checkModel(model, file)
    const configured = withConfiguredParts(model, config, optional(join(folder, 'config.json')))
    return { model: configured, config: tokens(config) }
  }
  const built = readVocabulary(folder, config)
  if (built === undefined) throw missing(folder)
  checkModel(built.model, folder)
  return { model: built.model, config: tokens(built.config) }
}

/** Where tokenizer_config.json lists its tokens, the other file is an older copy; elsewhere the other file counts. */
function readConfig(folder: string): Record<string, unknown> {
  const config = optional(join(folder, 'tokenizer_config.json'))
  const special = optional(join(folder, 'special_tokens_map.json'))
  return 'added_tokens_decoder' in config ? { ...special, ...config } : { ...config, ...special }
}

function optional(file: string): Record<string, unknown> {
  return existsSync(file) ? readJsonObject(file, operation) : {}
}

/** A token is written as its text, or as an object that holds it. */
function tokenText(value: unknown): unknown {
  return isPlainObject(value) && typeof value['content'] === 'string' ? value['content'] : value
}

function missing(folder: string): AdapterError {
  return new AdapterError('ERR_FILE_NOT_FOUND', operation, `${folder} holds no tokenizer`, {
    expected: 'tokenizer.json, or vocab.txt of a BERT model, or vocab.json and merges.txt of a RoBERTa or GPT-2 model',
    hint: 'Save the tokenizer with use_fast=True, or give ids instead of text.'
  })
}

// An id beyond any vocabulary would make the library fill an array up to it.
const largestId = 1 << 24

function checkModel(tokenizer: Readonly<Record<string, unknown>>, file: string): void {
  const fail: (problem: string) => never = (problem) => {
    throw new AdapterError('ERR_INVALID_FILE', operation, `${file}: ${problem}`, {
      hint: 'Write or download the file again.'
    })
  }
  const { model, added_tokens: added } = tokenizer
  if (!isPlainObject(model)) fail('it has no "model"')
  if (!Array.isArray(added)) fail('it has no list "added_tokens"')
  const isPositive = (length: unknown) => Number.isInteger(length) && (length as number) > 0
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < largestId
  for (const token of added) {
    const isToken = isPlainObject(token) && typeof token['content'] === 'string' && isId(token['id'])
    if (!isToken) fail(`an added token is not { id, content }: ${JSON.stringify(token)?.slice(0, 80)}`)
  }
  for (const { type, length } of partsOf(tokenizer['pre_tokenizer'], 'pretokenizers')) {
    // Parts of no length are without end.
    if (type === 'FixedLength' && !isPositive(length)) fail(`a part of fixed length has the length ${String(length)}`)
  }
  const { vocab } = model
  if (isPlainObject(vocab)) {
    const wrong = Object.entries(vocab).find(([, id]) => !isId(id))
    if (wrong !== undefined) fail(`the id of '${wrong[0].slice(0, 40)}' is ${JSON.stringify(wrong[1]).slice(0, 40)}`)
  } else if (!Array.isArray(vocab)) {
    fail('its model has no vocabulary')
  }
}
