import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { repository } from '../native/support.js'
import { fixtures, scratch } from './command.js'

/** A BERT for rows of ids, which nobody may write into. */
export const tinyModel = join(repository, fixtures, 'models/bert-tiny')

/** Its copy with words of its own. */
export function tinyModelOf(words: readonly string[]): string {
  const folder = join(scratch(), 'model')
  cpSync(tinyModel, folder, { recursive: true })
  writeFileSync(join(folder, 'vocab.txt'), ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...words].join('\n'))
  writeFileSync(join(folder, 'tokenizer_config.json'), '{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
  return folder
}
