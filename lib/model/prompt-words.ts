import { AdapterError } from '../native/errors.js'
import type { Model } from './model.js'

/** Ids of the text that a prompt starts with, special tokens among them, as the adapter library has it. */
export function promptWords({ tokenizer }: Model, text: string): number[] {
  if (tokenizer !== undefined) return [...tokenizer.encode(text).inputIds]
  throw new AdapterError('ERR_TOKENIZER', 'addAdapter', 'a prompt that starts with a text needs the tokenizer', {
    expected: 'a model whose folder has one',
    hint: "Leave promptInit at 'random_uniform', or put the tokenizer's files beside the model."
  })
}
