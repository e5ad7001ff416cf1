import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { AutoModel } from '../../lib/index.js'
import { pageOf } from '../docs/pages.js'
import { repository } from '../native/support.js'
import { command, fixtures, scratch } from './command.js'
import { tinyModelOf } from './tiny-model.js'

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
const tinyWithWords = () => tinyModelOf(Array.from({ length: 90 }, (_, i) => `w${i}`))

const recipeOf = (name: string) => parse(readFileSync(join(recipes, name), 'utf8'))
const isOfOne = (name: string) => !['tasks', 'sweep', 'adapters', 'below'].some((key) => key in recipeOf(name))
const tinyFor = (model: string) =>
  join(repository, fixtures, 'models', `${['bert', 'roberta', 'gpt2'].find((one) => model.startsWith(one))}-tiny`)

function rowsFor(name: string, head: string): string {
  const makeRow = rowsOf[head]
  if (makeRow === undefined) throw new Error(`no rows for ${head}`)
  const rows = join(place, `${name}.jsonl`)
  writeFileSync(rows, Array.from({ length: 12 }, (_, i) => JSON.stringify(makeRow(i))).join('\n'))
  return rows
}

const eventsOf = (output: string) =>
  output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

/** The recipe with what is of this machine, as a config. */
function small(name: string, own: object): [file: string, folder: string] {
  const recipe = recipeOf(name)
  const file = join(place, `${name}.json`)
  const folder = join(place, name)
  const size = { model: tinyFor(recipe.model), output: folder, threads: 1, numTrainEpochs: 2 }
  writeFileSync(file, JSON.stringify({ ...recipe, ...size, ...own }))
  return [file, folder]
}

test('docs/command-line.md names each, and each says where its result goes', (t) => {
  const { text } = pageOf('docs/command-line.md')
  for (const name of names) {
    t.is(recipeOf(name).output, `out/${name.replace('.yaml', '')}`)
    t.true(text.includes(`recipes/${name}`), name)
    t.regex(readFileSync(join(recipes, name), 'utf8'), new RegExp(`torch-adapters (train|sweep|fuse) recipes/${name}`))
  }
})

for (const name of names.filter(isOfOne)) {
  test(`${name}: in a small form`, async (t) => {
    const file = join(recipes, name)
    const recipe = recipeOf(name)
    const rows = rowsFor(name, recipe.head)
    const tiny = tinyFor(recipe.model)
    const model = recipe.head === 'masked-lm' ? tinyWithWords() : tiny
    const folder = join(place, name)
    const here = [
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
    const { status, output, errors } = await command(['train', file, ...here])
    t.is(status, 0, errors)
    const end = eventsOf(output).find(({ type }) => type === 'end')
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

test('several-tasks.yaml, and fusion.yaml over what came of it, in a small form', async (t) => {
  const { tasks } = recipeOf('several-tasks.yaml')
  const own = Object.fromEntries(
    Object.entries(tasks as Record<string, { head: string }>).map(([task, fields]) => {
      const rows = rowsFor(`tasks-${task}`, fields.head)
      return [task, { ...fields, train: rows, eval: rows }]
    })
  )
  const [file, folder] = small('several-tasks.yaml', { tasks: own })
  const trained = await command(['train', file, '--json'])
  t.is(trained.status, 0, trained.errors)
  const result = eventsOf(trained.output).at(-1)
  t.deepEqual(Object.keys(result.tasks), Object.keys(tasks))
  for (const [task, { best }] of Object.entries(result.tasks as Record<string, { best: { metric: string } }>)) {
    t.is(best.metric, tasks[task].metricForBestModel)
    t.true(existsSync(join(folder, task, 'adapter.safetensors')))
  }
  const { adapters } = recipeOf('fusion.yaml')
  t.deepEqual(
    adapters,
    Object.keys(tasks).map((task) => `out/several-tasks/${task}`)
  )
  const rows = rowsFor('fusion', recipeOf('fusion.yaml').head)
  const here = adapters.map((one: string) => join(folder, basename(one)))
  const [fusion, fused] = small('fusion.yaml', { train: rows, eval: rows, adapters: here })
  const { status, errors } = await command(['fuse', fusion, '--json'])
  t.is(status, 0, errors)
  t.true(existsSync(join(fused, 'adapter_setup.json')))
})

test('sweep.yaml in a small form: as many adapters as its grid has points', async (t) => {
  const { sweep, metricForBestModel, head } = recipeOf('sweep.yaml')
  const rows = rowsFor('sweep', head)
  const [file, folder] = small('sweep.yaml', { train: rows, eval: rows })
  const { status, output, errors } = await command(['sweep', file, '--json'])
  t.is(status, 0, errors)
  const { members } = eventsOf(output).at(-1)
  const points = Object.values(sweep as Record<string, unknown[]>).reduce((product, list) => product * list.length, 1)
  t.is(members.length, points)
  t.is(members[0].best.metric, metricForBestModel)
  t.true(existsSync(join(folder, 'adapter.safetensors')))
})

test('a head for masked words begins as that of the model, where its folder has one', async (t) => {
  const model = await AutoModel.fromPretrained(tinyWithWords())
  t.teardown(() => model.dispose())
  model.addMaskedLmHead('words')
  const { shape } = model.parameter('heads.words.3.bias')
  const data = Float32Array.from({ length: shape[0] ?? 0 }, (_, i) => Math.sin(i))
  model.loadStateDict(new Map([['heads.words.3.bias', { shape, data }]]))
  const folder = join(place, 'pretrained')
  await model.savePretrained(folder, { modelClass: 'BertForMaskedLM', head: 'words' })
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    if (existsSync(join(tinyWithWords(), file))) cpSync(join(tinyWithWords(), file), join(folder, file))
  const texts = rowsFor('pretrained-rows', 'masked-lm')
  const output = join(place, 'begun')
  const learned = await command([
    ...['train', join(recipes, 'masked-language-model.yaml'), '--model', folder, '--train', texts, '--eval', texts],
    ...['--output', output, '--epochs', '1', '--learning-rate', '1e-12', '--threads', '1', '--name', 'en']
  ])
  t.is(learned.status, 0, learned.errors)
  t.regex(learned.errors, /head 'en' begins as the one for masked words/)
  const opened = await AutoModel.fromPretrained(folder)
  t.teardown(() => opened.dispose())
  await opened.loadAdapter(output, { as: 'en' })
  t.true(opened.parameter('heads.en.3.bias').data.every((value, i) => Math.abs(value - Math.sin(i)) < 1e-6))
})

test('language-and-task.yaml in a small form: the language adapter stands still', async (t) => {
  const { below, head } = recipeOf('language-and-task.yaml')
  t.deepEqual(below, [`en=${recipeOf('masked-language-model.yaml').output}`])
  const texts = rowsFor('language', 'masked-lm')
  const model = tinyWithWords()
  const folder = join(place, 'language')
  const [first] = small('masked-language-model.yaml', { model, train: texts, eval: texts, output: folder })
  const learned = await command(['train', first])
  t.is(learned.status, 0, learned.errors)
  const weights = readFileSync(join(folder, 'adapter.safetensors'))
  const rows = rowsFor('above', head)
  const [file, output] = small('language-and-task.yaml', { model, train: rows, eval: rows })
  // An option takes the place of the config's list.
  const missing = await command(['train', file, '--below', 'en=out/nowhere', '--offline'])
  t.is(missing.status, 2)
  t.regex(missing.errors, /--below: no adapter that has learned before is at en=out\/nowhere\. .*--below en=FOLDER/)
  const trained = await command(['train', file, '--below', `en=${folder}`, '--name', 'ner'])
  t.is(trained.status, 0, trained.errors)
  t.deepEqual(readFileSync(join(folder, 'adapter.safetensors')), weights)
  const adapters = ['--adapter', `de=${folder}`, '--adapter', output]
  const measured = await command([
    'evaluate',
    '-m',
    model,
    ...adapters,
    '--setup',
    'Stack[de, ner]',
    '-d',
    rows,
    '--json'
  ])
  t.is(measured.status, 0, measured.errors)
  t.is(JSON.parse(measured.output).head, 'ner')
})
