import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { command, scratch } from './command.js'
import { tinyModelOf } from './tiny-model.js'

const place = scratch()
const capitals = ['york', 'paris', 'rome']
const others = ['is', 'old', 'newly']
const model = tinyModelOf([...capitals, 'is', 'old', 'new', '##ly'])
const shared = ['--model', model, '--threads', '1']

test.serial('words in TSV: a tagging head is trained, measured and answers word by word', async (t) => {
  const rows = join(place, 'rows.tsv')
  const lines = Array.from({ length: 36 }, (_, i) => {
    const words = [capitals[i % 3], others[(i >> 1) % 3], capitals[(i >> 2) % 3], others[(i >> 3) % 3]].slice(i % 2)
    return `${words.join(' ')}\t${words.map((word) => (others.includes(word ?? '') ? 'O' : 'B-LOC')).join(' ')}`
  })
  writeFileSync(rows, `words\tlabels\n${lines.join('\n')}\n`)
  const folder = join(place, 'places')
  const recipe = ['--epochs', '8', '--learning-rate', '0.02', '--config', 'double_seq_bn[reduction_factor=2]']
  const trained = await command(['train', ...shared, '--train', rows, '-o', folder, ...recipe])
  t.is(trained.status, 0, trained.errors)
  const { label2id, head_type } = JSON.parse(readFileSync(join(folder, 'head_config.json'), 'utf8')).config
  t.is(head_type, 'tagging')
  t.deepEqual(label2id, { 'B-LOC': 0, O: 1 })

  const measured = await command(['evaluate', ...shared, '-a', folder, '-d', rows, '--json'])
  t.is(measured.status, 0, measured.errors)
  t.true(JSON.parse(measured.output).metrics.accuracy > 0.9, measured.output)

  const questions = join(place, 'questions.csv')
  writeFileSync(questions, 'id,words,text\n1,Rome newly,\n2,"[""old"", ""Paris""]",\n3,,newly old\n')
  const answered = await command(['predict', ...shared, '-a', folder, '-i', questions])
  t.is(answered.status, 0, answered.errors)
  const [first, second, third] = answered.output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  type Token = { word?: string; token?: string; label: string }
  const pairs = ({ tokens }: { tokens: Token[] }) => tokens.map(({ word, token, label }) => [word ?? token, label])
  t.deepEqual(pairs(first), [
    ['Rome', 'B-LOC'],
    ['newly', 'O']
  ])
  t.deepEqual(pairs(second), [
    ['old', 'O'],
    ['Paris', 'B-LOC']
  ])
  t.is(first.logits.length, 2)
  t.deepEqual(
    pairs(third).map(([token]) => token),
    ['[CLS]', 'new', '##ly', 'old', '[SEP]']
  )
})
