import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { valueError } from '../config/check.js'
import { TextTokenizer } from './tokenizer.js'

/** What rows of text need. */
export interface Tokenized {
  readonly tokenizer?: TextTokenizer | undefined
  /** The model's folder, which says why there is none. */
  readonly source?: string | undefined
}

/** The tokenizer, or an error about the row at `name`. */
export function neededTokenizer(
  { tokenizer, source }: Tokenized,
  name: string,
  so = 'so rows must be inputIds'
): TextTokenizer {
  if (tokenizer !== undefined) return tokenizer
  throw valueError(name, `the model has no tokenizer, ${so}${filesNotRead(source)}`)
}

/** What to do about a folder whose tokenizer is in other files than those that are read, or in none; '' of no folder. */
export function filesNotRead(source: string | undefined): string {
  if (source !== undefined && existsSync(join(source, 'tokenizer.json'))) return `. ${whyUnused(source)}`
  const files = unreadFiles(source)
  if (files.length === 0) return missingFrom(source)
  return (
    `. ${source} holds ${files.join(' and ')}, and read are tokenizer.json, vocab.txt of BERT, and vocab.json with ` +
    'merges.txt of RoBERTa or GPT-2. In Python AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes ' +
    'tokenizer.json'
  )
}

/** Where `save_pretrained` of the model alone wrote it. */
function missingFrom(source: string | undefined): string {
  if (source === undefined || !existsSync(join(source, 'config.json'))) return ''
  return (
    `. ${source} holds none: its tokenizer.json belongs beside config.json. In Python ` +
    `AutoTokenizer.from_pretrained(NAME).save_pretrained('${source}') writes it`
  )
}

/** The file was there when the model was opened, and is tried again for what was wrong with it. */
function whyUnused(source: string): string {
  try {
    TextTokenizer.fromFolder(source)
  } catch (error) {
    return `In ${source}, ${(error as Error).message.replace(/^read the tokenizer: /, '')}`
  }
  return `${source} holds a tokenizer.json now; open the model again`
}

/** Files that hold vocabularies and merges of tokenizers, SentencePiece's among them. */
const vocabulary = /^(vocab\..+|merges\.txt|.+\.(model|spm|bpe|codes|tiktoken))$/

const unreadFiles = (source: string | undefined): string[] =>
  source !== undefined && existsSync(source)
    ? readdirSync(source)
        .filter((file) => vocabulary.test(file))
        .sort()
    : []
