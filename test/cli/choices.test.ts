import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { command, scratch } from './command.js'
import { tinyModelOf } from './tiny-model.js'

const place = scratch()
const recipe = [
  '--epochs',
  '12',
  '--batch-size',
  '8',
  '--learning-rate',
  '0.01',
  '--config',
  'double_seq_bn[reduction_factor=2]'
]
const cities = ['york', 'paris', 'rome']
const model = tinyModelOf([...cities, 'is', 'old', 'where', 'in', '?', '.', 'it'])
const shared = ['--model', model, '--threads', '1']

const city = (i: number) => cities[i % 3] ?? ''
const lines = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).join('\n')

async function trained(name: string, text: string): Promise<{ folder: string; file: string; head: string }> {
  const file = join(place, `${name}.jsonl`)
  writeFileSync(file, text)
  const folder = join(place, name)
  const { status, errors } = await command(['train', ...shared, '--train', file, '-o', folder, ...recipe])
  if (status !== 0) throw new Error(errors)
  return { folder, file, head: JSON.parse(readFileSync(join(folder, 'head_config.json'), 'utf8')).config.head_type }
}

async function run(...args: string[]) {
  const { status, output, errors } = await command(args)
  if (status !== 0) throw new Error(errors)
  return output
    .trim()
    .split('\n')
    .map((line) => (args.includes('--json') ? line : JSON.parse(line)))
}

test.serial('questions in SQuAD’s names: trained, measured and answered', async (t) => {
  const rows = Array.from({ length: 24 }, (_, i) => {
    const context = `It is old in ${city(i)}.`
    return { question: 'Where is it?', context, answers: { text: [city(i)], answer_start: [13] } }
  })
  const { folder, file, head } = await trained('questions', lines(rows))
  t.is(head, 'question_answering')
  const measured = (await run('evaluate', ...shared, '-a', folder, '-d', file, '--json')).join('\n')
  t.true(JSON.parse(measured).metrics.exact_match > 0.9, measured)
  const [answer] = await run('predict', ...shared, '-a', folder, '-i', file)
  t.like(answer, { answer: 'york', start: 13, end: 17 })
})

test.serial('choices: each row has its own number of them', async (t) => {
  const rows = Array.from({ length: 24 }, (_, i) => ({
    ...{ text: 'where is it', label: i % 2, choices: i % 2 === 0 ? [city(i), 'old'] : ['old', city(i), 'it'] }
  }))
  const { folder, file, head } = await trained('choices', lines(rows))
  t.is(head, 'multiple_choice')
  const measured = (await run('evaluate', ...shared, '-a', folder, '-d', file, '--json')).join('\n')
  t.true(JSON.parse(measured).metrics.accuracy > 0.9, measured)
  const answers = await run('predict', ...shared, '-a', folder, '-i', file)
  t.deepEqual(
    answers.slice(0, 2).map(({ label_id, scores }) => [label_id, scores.length]),
    [
      [0, 2],
      [1, 3]
    ]
  )
})

test.serial('choices for a head that reads none are refused with file, line and what to do', async (t) => {
  const rows = [{ text: 'it is old', label: 0 }, ...[0, 1].map((label) => ({ text: 'it', choices: cities, label }))]
  const file = join(place, 'for-choices.jsonl')
  writeFileSync(file, lines(rows))
  const folder = join(place, 'for-choices')
  const args = ['train', ...shared, '--train', file, '-o', folder, '--head', 'classification']
  const { status, errors } = await command(args)
  t.is(status, 1)
  t.regex(errors, /for-choices\.jsonl:2: a head of kind classification does not read choices.*--head multiple-choice/)
})

test.serial('words with heads and relations: parsed to a tree', async (t) => {
  const rows = Array.from({ length: 24 }, (_, i) => ({
    ...{ words: [city(i), 'is', 'old'], heads: [3, 3, 0], relations: ['nsubj', 'cop', 'root'] }
  }))
  const { folder, file, head } = await trained('parses', lines(rows))
  t.is(head, 'dependency_parsing')
  const measured = (await run('evaluate', ...shared, '-a', folder, '-d', file, '--json')).join('\n')
  t.true(JSON.parse(measured).metrics.las > 0.9, measured)
  const [answer] = await run('predict', ...shared, '-a', folder, '-i', file)
  t.deepEqual(
    answer.tokens.map((token: { head: number; label: string }) => [token.head, token.label]),
    [
      [3, 'nsubj'],
      [3, 'cop'],
      [0, 'root']
    ]
  )
})
