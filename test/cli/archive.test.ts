import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import test from 'ava'
import { AutoModel, TextTokenizer } from '../../lib/index.js'
import { exportedFolder } from '../parity/support/exported.js'
import { command, fixtures, scratch } from './command.js'

const archive = async () => join(await exportedFolder(), 'llama.pt2')

test.serial('inspect tells what an archive of torch.export is and where adapters stand in it', async (t) => {
  const file = await archive()
  const { status, output, errors } = await command(['inspect', file])
  t.is(errors, '')
  t.is(status, 0)
  t.regex(output, /archive of torch\.export, which AutoModel\.fromExported reads/)
  t.regex(output, /class {9}LlamaModel, llama\n {2}size {10}2 layers, hidden size 16, \d+ parameters/)
  t.regex(output, /inputs {8}input_ids, attention_mask\n {2}outputs {7}last_hidden_state\n {2}tokenizer {5}none/)
  t.regex(output, /where adapters stand\n {2}layer 0 \(layers\.0\), attention: .*query layers\.0\.self_attn\.q_proj/)
  const json = JSON.parse((await command(['inspect', '--json', file])).output)
  using model = await AutoModel.fromExported(file)
  t.is(json.archive.class, 'LlamaModel')
  t.deepEqual(json.archive.placement, model.explainPlacement())
})

/** A BERT's vocabulary that the fixtures' networks have ids for. */
function tokenizerFolder(): string {
  const folder = scratch()
  const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'good', 'bad', 'film', 'book', 'a', 'the', 'very']
  writeFileSync(join(folder, 'vocab.txt'), `${words.join('\n')}\n`)
  return folder
}

/** Texts whose last word decides the label. */
function writeTexts(file: string): void {
  const subjects = ['a film', 'the book', 'a book', 'the film']
  const lines = subjects.flatMap((subject) =>
    ['good', 'bad'].map((word) => JSON.stringify({ text: `${subject} very ${word}`, label: word }))
  )
  writeFileSync(file, `${lines.join('\n')}\n`)
}

const linesOf = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test.serial('an archive is a --model: text in, an adapter trained, measured, answering, and going on', async (t) => {
  const place = scratch()
  const [rows, out, answers] = ['rows.jsonl', 'tone', 'answers.jsonl'].map((name) => join(place, name)) as [
    string,
    string,
    string
  ]
  writeTexts(rows)
  const archive = join(await exportedFolder(), 'bert.pt2')
  const tokenizer = tokenizerFolder()
  const base = ['--model', archive, '--tokenizer', tokenizer]
  const training = ['--train', rows, '--output', out, '--epochs', '30', '--learning-rate', '0.03', '--batch-size', '8']
  const trained = await command(['train', ...base, ...training])
  t.is(trained.status, 0, trained.errors)
  const kept = JSON.parse(readFileSync(join(out, 'train.json'), 'utf8'))
  t.deepEqual([kept.model, kept.tokenizer], [resolve(archive), resolve(tokenizer)])
  const measured = await command(['evaluate', '--json', ...base, '--adapter', out, '--data', rows])
  t.is(measured.status, 0, measured.errors)
  const { rows: count, metrics } = JSON.parse(measured.output)
  t.is(count, 8)

  const predicted = await command(['predict', ...base, '--adapter', out, '--input', rows, '--output', answers])
  t.is(predicted.status, 0, predicted.errors)
  using model = await AutoModel.fromExported(archive, { tokenizer: TextTokenizer.fromFolder(tokenizer) })
  await model.loadAdapter(out, { as: 'tone' })
  const texts = linesOf(readFileSync(rows, 'utf8')).map(({ text }) => ({ text }))
  const expected = await model.predict(texts, { adapters: 'tone' })
  t.deepEqual(
    linesOf(readFileSync(answers, 'utf8')).map(({ label, logits }) => [label, logits]),
    expected.map(({ label, logits }) => [label, Array.from(logits)])
  )
  const labels = linesOf(readFileSync(rows, 'utf8')).map(({ label }) => label)
  t.is(metrics.accuracy, expected.filter(({ label }, i) => label === labels[i]).length / labels.length)
  const again = await command(['resume', out])
  t.is(again.status, 0, again.errors)
  t.regex(again.output, /is finished/)
})

test.serial('a config names an archive and where adapters stand in it; ids need no tokenizer', async (t) => {
  const place = scratch()
  const [rows, out, config] = ['rows.jsonl', 'x', 'config.json'].map((name) => join(place, name)) as [
    string,
    string,
    string
  ]
  const lines = Array.from({ length: 8 }, (_, i) => JSON.stringify({ input_ids: [3 + i, 20 + (i % 2)], label: i % 2 }))
  writeFileSync(rows, `${lines.join('\n')}\n`)
  const placement = { attention: null, feedForward: 'model.norm' }
  const model = join(await exportedFolder(), 'shared.pt2')
  const adapter = 'seq_bn[reduction_factor=2]'
  writeFileSync(config, JSON.stringify({ model, placement, train: rows, output: out, maxSteps: 2, config: adapter }))
  const { status, errors } = await command(['train', config])
  t.is(status, 0, errors)
  t.deepEqual(JSON.parse(readFileSync(join(out, 'train.json'), 'utf8')).placement, placement)
  const predict = ['predict', '--model', model, '--adapter', out, '--input', rows]
  const placed = await command([...predict, '--placement', JSON.stringify(placement)])
  t.is(placed.status, 0, placed.errors)
  t.is(linesOf(placed.output).length, 8)
  // Its graph shows no place of its own.
  const elsewhere = await command(predict)
  t.not(elsewhere.status, 0)
  t.regex(elsewhere.errors, /saved under another placement.*feedForward/)
})

test.serial('what an archive cannot have beside it is said', async (t) => {
  const place = scratch()
  const rows = join(place, 'rows.jsonl')
  writeTexts(rows)
  const archive = join(await exportedFolder(), 'bert.pt2')
  const predict = ['predict', '--adapter', join(fixtures, 'folders/bert-seq_bn-bin'), '--input', rows, '--model']
  for (const [args, message] of [
    [[archive, '--trunk', 'bfloat16'], /--trunk: an archive of torch\.export computes in float32/],
    [[archive, '--tokenizer', place], /--tokenizer: expected a folder with tokenizer\.json.*which has none/],
    [[archive, '--placement', 'mlp'], /--placement: expected auto, or JSON such as .*got 'mlp'/],
    [[archive, '--placement', '{"mlp": "x"}'], /--placement: unknown option 'mlp'/],
    [['models/wordnet-bert-mini', '--placement', 'auto'], /--placement: is for a --model that is an archive/]
  ] as const) {
    const { status, errors } = await command([...predict, ...args])
    t.is(status, 2, errors)
    t.regex(errors, message)
  }
  const train = ['train', '--model', archive, '--train', rows, '--output', join(place, 'out'), '--tune', 'full']
  const { status, errors } = await command(train)
  t.is(status, 2)
  t.regex(errors, /--tune full: an archive of torch\.export is not written anew/)
  await t.throwsAsync(AutoModel.fromPretrained(archive), {
    code: 'ERR_UNSUPPORTED',
    message: /is an archive of torch\.export.*AutoModel\.fromExported/s
  })
})
