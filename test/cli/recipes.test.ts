import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { readme } from '../docs/readme.js'
import { repository } from '../native/support.js'
import { command, fixtures, scratch } from './command.js'

const recipes = join(repository, 'recipes')
const names = readdirSync(recipes)
const place = scratch()

/** Rows of ids, so that the tiny models need no vocabulary. */
const rowsOf: Readonly<Record<string, (i: number) => object>> = {
  classification: (i) => ({ input_ids: [5 + i, 20, 91 + (i % 2)], label: i % 2 ? 'yes' : 'no' }),
  tagging: (i) => ({ input_ids: [5 + i, 20, 91], labels: ['O', 'B-PER', 'I-PER'] }),
  'question-answering': (i) => ({
    input_ids: [2, 5 + i, 3, 20, 21, 3],
    token_type_ids: [0, 0, 0, 1, 1, 1],
    start_position: 3,
    end_position: 4
  }),
  'masked-lm': (i) => ({ text: `w${i} w${i + 1} w${i + 2} w3 w4` }),
  'causal-lm': (i) => ({ input_ids: [5 + i, 6 + i, 7 + i, 8 + i] })
}

/** Words are hidden by a tokenizer's mask token. */
function withVocabulary(model: string): string {
  const folder = join(scratch(), 'model')
  cpSync(model, folder, { recursive: true })
  const words = Array.from({ length: 90 }, (_, i) => `w${i}`)
  writeFileSync(join(folder, 'vocab.txt'), ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...words].join('\n'))
  writeFileSync(join(folder, 'tokenizer_config.json'), '{"tokenizer_class": "BertTokenizer"}')
  return folder
}

for (const name of names) {
  test(`${name}: in a small form`, async (t) => {
    const file = join(recipes, name)
    const recipe = parse(readFileSync(file, 'utf8'))
    t.is(recipe.output, `out/${name.replace('.yaml', '')}`)
    t.true(readme.includes(`recipes/${name}`), 'README names each')
    const makeRow = rowsOf[recipe.head]
    if (makeRow === undefined) return t.fail(recipe.head)
    const rows = join(place, `${name}.jsonl`)
    writeFileSync(rows, Array.from({ length: 12 }, (_, i) => JSON.stringify(makeRow(i))).join('\n'))
    const family = ['bert', 'roberta', 'gpt2'].find((one) => recipe.model.startsWith(one))
    const tiny = join(fixtures, 'models', `${family}-tiny`)
    const model = recipe.head === 'masked-lm' ? withVocabulary(tiny) : tiny
    const folder = join(place, name)
    const small = [
      '-m',
      model,
      '--train',
      rows,
      '--eval',
      rows,
      '-o',
      folder,
      '--threads',
      '1',
      '--epochs',
      '2',
      '--json'
    ]
    const { status, output, errors } = await command(['train', file, ...small])
    t.is(status, 0, errors)
    const events = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const end = events.find(({ type }) => type === 'end')
    t.is(end.epoch, 2)
    t.is(end.best?.metric, recipe.metricForBestModel)
    const kept =
      recipe.tune === 'head'
        ? 'model_head.safetensors'
        : recipe.tune === 'full'
          ? 'model.safetensors'
          : 'adapter.safetensors'
    for (const one of [kept, 'events.jsonl', 'report.html', 'train.json']) t.true(existsSync(join(folder, one)), one)
  })
}
