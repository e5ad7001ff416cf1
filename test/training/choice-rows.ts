import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { AutoModel, type Model, type Row } from '../../lib/index.js'
import { quiet, scratch, tiny } from '../model/support.js'

const names = ['paris', 'rome', 'york', 'oslo']
const things = ['tower', 'river', 'park']
const pieces = [
  '[PAD]',
  '[UNK]',
  '[CLS]',
  '[SEP]',
  '[MASK]',
  ...names,
  ...things,
  'where',
  'is',
  'the',
  'in',
  'and',
  '?',
  '.'
]

export async function load(t: ExecutionContext): Promise<Model> {
  const folder = join(scratch(t), 'model')
  mkdirSync(folder, { recursive: true })
  cpSync(tiny, folder, { recursive: true })
  writeFileSync(join(folder, 'vocab.txt'), pieces.join('\n'))
  writeFileSync(join(folder, 'tokenizer_config.json'), '{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
  const model = await AutoModel.fromPretrained(folder)
  t.teardown(() => model.dispose())
  return model
}

const pick = <T>(list: readonly T[], i: number): T => list[i % list.length] as T
export const questions: Row[] = Array.from({ length: 24 }, (_, i) => {
  const answer = pick(names, i)
  const context = i % 2 === 0 ? `The tower is in ${answer}.` : `${answer} and the river. The park is the park.`
  return {
    question: 'where is the tower?',
    context,
    answers: { text: [answer], answer_start: [context.indexOf(answer)] }
  }
})
export const choices: Row[] = Array.from({ length: 24 }, (_, i) => {
  const right = pick(names, i)
  const others = [pick(things, i), pick(things, i + 1)].slice(0, 1 + (i % 2))
  return i % 3 === 0
    ? { text: 'where is the park', choices: [right, ...others], label: 0 }
    : { text: 'where is the park', choices: [...others, right], label: others.length }
})
export const parses: Row[] = Array.from({ length: 24 }, (_, i) => ({
  words: ['the', pick(things, i), 'is', 'in', pick(names, i)],
  heads: [2, 5, 5, 5, 0],
  relations: ['det', 'nsubj', 'cop', 'case', 'root']
}))
export const relations = ['case', 'cop', 'det', 'nsubj', 'root']
export const args = { ...quiet, numTrainEpochs: 12, perDeviceTrainBatchSize: 8 }

/** An adapter and a head of each kind that chooses, and of one that does not. */
export async function withAll(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  for (const name of ['qa', 'mc', 'parse', 'mood']) model.addAdapter(name, 'seq_bn[reduction_factor=4]')
  model.addQuestionAnsweringHead('qa')
  model.addMultipleChoiceHead('mc')
  model.addDependencyParsingHead('parse', { labels: relations })
  model.addClassificationHead('mood')
  return model
}
