import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test from 'ava'
import { AutoModel, evaluate, TextTokenizer } from '../../lib/index.js'
import { command, scratch } from './command.js'

function archive(place: string, name: string): string {
  const file = join(place, `${name}.pt2`)
  writeFileSync(file, gunzipSync(readFileSync(join('test/parity/fixtures/exported-heads', `${name}.pt2.gz`))))
  return file
}

function rowsFile(place: string, name: string, rows: readonly object[]): string {
  const file = join(place, name)
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  return file
}

const ids = [5, 6, 7, 8].map((first) => [first, first + 1, first + 2, first + 3])
const unlabelled = ids.map((input_ids) => ({ input_ids }))
const classes = ids.map((input_ids, i) => ({ input_ids, label: i % 3 }))
const training = ['--epochs', '20', '--learning-rate', '0.03', '--batch-size', '4', '--config', 'lora[r=4]']

const answers = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test.serial(
  'rows without labels train an adapter under the language head of an archive, which answers with it',
  async (t) => {
    const place = scratch()
    const model = archive(place, 'gpt2-lm')
    const rows = rowsFile(place, 'rows.jsonl', unlabelled)
    const out = join(place, 'lm')
    const trained = await command(['train', '--model', model, '--train', rows, '--output', out, ...training])
    t.is(trained.status, 0, trained.errors)
    t.regex(trained.errors, /head: the model's own, causal_lm, which stays as it is/)
    t.true(existsSync(join(out, 'adapter_config.json')))
    t.false(existsSync(join(out, 'head_config.json')))

    using own = await AutoModel.fromExported(model)
    const lossOf = async () =>
      (
        await evaluate(
          own,
          unlabelled.map(({ input_ids }) => ({ inputIds: input_ids }))
        )
      ).loss
    const before = await lossOf()
    own.setActiveAdapters(await own.loadAdapter(out, { as: 'lm' }))
    const after = await lossOf()
    t.true(after < before - 0.1, `${before} became ${after}`)
    for (const [adapter, loss] of [
      [[], before],
      [['--adapter', out], after]
    ] as const) {
      const measured = await command(['evaluate', '--json', '--model', model, ...adapter, '--data', rows])
      t.is(measured.status, 0, measured.errors)
      t.true(Math.abs(JSON.parse(measured.output).loss - loss) < 1e-5)
    }
    const predicted = await command(['predict', '--model', model, '--adapter', out, '--input', rows])
    const expected = await own.predict(unlabelled.map(({ input_ids }) => ({ inputIds: input_ids })))
    t.deepEqual(
      answers(predicted.output).map(({ logits }) => logits.flat()),
      expected.map(({ logits }) => Array.from(logits))
    )
    const again = await command(['resume', out])
    t.regex(again.output, /is finished/, again.errors)
  }
)

test.serial('a masked language model hides tokens of the text, under its own head', async (t) => {
  const place = scratch()
  const model = archive(place, 'bert-mlm')
  const tokenizer = join(place, 'tokenizer')
  mkdirSync(tokenizer)
  const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'good', 'bad', 'film', 'a', 'the']
  writeFileSync(join(tokenizer, 'vocab.txt'), `${words.join('\n')}\n`)
  const texts = ['a good film', 'the bad film', 'a bad film', 'the good film'].map((text) => ({ text }))
  const rows = rowsFile(place, 'rows.jsonl', texts)
  const base = ['--model', model, '--tokenizer', tokenizer]
  const out = join(place, 'mlm')
  const asked = ['--head', 'masked-lm']
  const trained = await command(['train', ...base, '--train', rows, '--output', out, ...training, ...asked])
  t.is(trained.status, 0, trained.errors)
  t.regex(trained.errors, /head: the model's own, masked_lm/)
  const predicted = await command(['predict', ...base, '--adapter', out, '--input', rows])
  using own = await AutoModel.fromExported(model, { tokenizer: TextTokenizer.fromFolder(tokenizer) })
  own.setActiveAdapters(await own.loadAdapter(out))
  const expected = await own.predict(texts)
  t.deepEqual(
    answers(predicted.output).map(({ logits }) => logits.flat()),
    expected.map(({ logits }) => Array.from(logits))
  )
})

test.serial('tasks and fusions stand under the own head, beside heads of their own', async (t) => {
  const place = scratch()
  const model = archive(place, 'gpt2-lm')
  const rows = rowsFile(place, 'rows.jsonl', unlabelled)
  const labelled = rowsFile(place, 'labelled.jsonl', classes)
  const tasks = join(place, 'tasks.json')
  writeFileSync(tasks, JSON.stringify({ a: { train: rows }, b: { train: rows }, c: { train: labelled } }))
  const out = join(place, 'tasks')
  const steps = ['--max-steps', '2']
  const trained = await command(['train', '--model', model, '--tasks', tasks, '--output', out, ...steps])
  t.is(trained.status, 0, trained.errors)
  t.deepEqual(
    ['a', 'b', 'c'].map((name) => existsSync(join(out, name, 'head_config.json'))),
    [false, false, true]
  )
  const mixed = rowsFile(
    place,
    'mixed.jsonl',
    ['c', 'a', null].map((adapter) => ({ input_ids: [5, 6], adapter }))
  )
  const adapters = ['a', 'c'].flatMap((name) => ['--adapter', join(out, name)])
  const predicted = await command(['predict', '--model', model, ...adapters, '--input', mixed])
  t.is(predicted.status, 0, predicted.errors)
  const [ofClasses, ...ofWords] = answers(predicted.output)
  t.is(ofClasses.logits.length, 3)
  for (const { logits } of ofWords) t.deepEqual([logits.length, logits[0].length], [2, 20])

  const fused = join(place, 'fused')
  const both = ['a', 'b'].flatMap((name) => ['--adapter', join(out, name)])
  const fusion = await command(['fuse', '--model', model, ...both, '--train', rows, '--output', fused, ...steps])
  t.is(fusion.status, 0, fusion.errors)
  const measured = await command(['evaluate', '--json', '--model', model, '--setup', fused, '--data', rows])
  t.is(measured.status, 0, measured.errors)
  t.is(JSON.parse(measured.output).head, 'default')
})

test.serial('an archive is opened once, whatever asks for its head', async (t) => {
  const place = scratch()
  const model = archive(place, 'gpt2-lm')
  const rows = rowsFile(place, 'rows.jsonl', unlabelled)
  // Tells of each call that opens an archive.
  const watch = join(place, 'watch.mjs')
  writeFileSync(
    watch,
    `const { dlopen } = process
    process.dlopen = (module, ...rest) => {
      dlopen.call(process, module, ...rest)
      const { openExported } = module.exports
      if (openExported === undefined) return
      module.exports.openExported = (...args) => {
        process.stderr.write('an archive is opened\\n')
        return openExported(...args)
      }
    }`
  )
  const tasks = join(place, 'tasks.json')
  writeFileSync(tasks, JSON.stringify({ a: { train: rows }, b: { train: rows } }))
  const steps = ['--max-steps', '1', '--learning-rate', '0.01']
  for (const [name, ...args] of [
    ['one', 'train', '--train', rows],
    ['several', 'train', '--tasks', tasks],
    ['swept', 'sweep', '--train', rows, '--vary', 'seed=1,2']
  ] as const) {
    const all = [...args, '--model', model, '--output', join(place, name), ...steps]
    const { status, errors } = await command(all, { env: { NODE_OPTIONS: `--import ${watch}` } })
    t.is(status, 0, errors)
    t.is(errors.split('an archive is opened').length - 1, 1, `${name}: ${errors}`)
  }
})

test.serial('--head default is the own head of any class; labels alone still ask for a new one', async (t) => {
  const place = scratch()
  const model = archive(place, 'bert-classifier')
  const rows = rowsFile(place, 'rows.jsonl', classes)
  const train = ['train', '--model', model, '--train', rows, '--max-steps', '1', '--output']
  const own = await command([...train, join(place, 'own'), '--head', 'default'])
  t.regex(own.errors, /head: the model's own, classification/)
  const added = await command([...train, join(place, 'new')])
  t.regex(added.errors, /head: classification, 3 labels/)
  for (const [args, message] of [
    [[...train, join(place, 'x'), '--head', 'default', '--tune', 'head'], /--tune head: the model's own head stays/],
    [
      ['train', '--model', place, '--train', rows, '--output', join(place, 'y'), '--head', 'default'],
      /--head default: expected a --model that is an archive/
    ],
    [
      ['train', '--model', join(place, 'no.pt2'), '--train', rows, '--output', join(place, 'z'), '--head', 'default'],
      /--model: there is no file .*no\.pt2/
    ]
  ] as const) {
    const { status, errors } = await command(args)
    t.is(status, 2, errors)
    t.regex(errors, message)
  }
})
