import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { Ajv } from 'ajv'
import test from 'ava'
import { labelsOfText, labelsToText } from '../../lib/cli/label-list.js'
import { trainSchema } from '../../lib/cli/train-config.js'
import { trainingArguments } from '../../lib/config/training-arguments.js'
import { Random } from '../../lib/data/random.js'
import { repository } from '../native/support.js'
import { script } from '../setup/script.js'
import { command, fixtures, interrupted, scratch } from './command.js'

const place = scratch()
const model = join(repository, fixtures, 'models/bert-tiny')
const rows = join(place, 'rows.jsonl')

test.before(() => {
  const random = Random.fromSeed(1)
  const lines = Array.from({ length: 48 }, () => {
    const label = random.nextBelow(2)
    return JSON.stringify({ input_ids: [5 + random.nextBelow(80), 91 + label], label: ['no', 'yes'][label] })
  })
  writeFileSync(rows, `${lines.join('\n')}\n`)
})

function write(name: string, content: string | object): string {
  const file = join(place, name)
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}

const settings = { model, train: rows, threads: 1, seed: 3, numTrainEpochs: 2, learningRate: 0.02 }
const startOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'events.jsonl'), 'utf8').split('\n')[0] ?? '')
const weights = (folder: string) => readFileSync(join(folder, 'adapter.safetensors'))

test('a config and the same as options train the same; options go before', async (t) => {
  const folders = ['options', 'json', 'yaml', 'before'].map((name) => join(place, name)) as [
    string,
    string,
    string,
    string
  ]
  const [options, json, yaml, before] = folders
  const shared = ['--model', model, '--train', rows, '--threads', '1', '--seed', '3', '--name', 'a']
  const own = [
    '--config',
    'seq_bn[reduction_factor=4]',
    '--epochs',
    '2',
    '--learning-rate',
    '0.02',
    '--labels',
    'yes,no'
  ]
  t.is((await command(['train', ...shared, ...own, '-o', options])).status, 0)
  const adapter = JSON.parse(readFileSync(join(options, 'adapter_config.json'), 'utf8')).config
  const content = { $schema: 'x', ...settings, name: 'a', labels: ['yes', 'no'], config: adapter, output: json }
  const first = await command(['train', write('c.json', content)])
  t.is(first.status, 0, first.errors)
  const text = [
    ...[
      `model: ${model}`,
      `train: ${rows}`,
      'threads: 1',
      'seed: 3',
      'name: a',
      'numTrainEpochs: 2',
      'learningRate: 2e-2'
    ],
    ...[
      '# In YAML 1.1 these would be true and false.',
      'labels: [yes, no]',
      'config: seq_bn[reduction_factor=4]',
      `output: ${yaml}`
    ]
  ]
  const second = await command(['train', write('c.yaml', text.join('\n'))])
  t.is(second.status, 0, second.errors)
  t.true(weights(json).equals(weights(options)))
  t.true(weights(yaml).equals(weights(options)))
  const { label2id } = JSON.parse(readFileSync(join(yaml, 'head_config.json'), 'utf8')).config
  t.deepEqual(label2id, { yes: 0, no: 1 })
  const third = await command([
    'train',
    join(place, 'c.yaml'),
    '-o',
    before,
    '--epochs',
    '1',
    '--batch-size',
    '4',
    '--set',
    'warmupSteps=2'
  ])
  t.is(third.status, 0, third.errors)
  const { numTrainEpochs, perDeviceTrainBatchSize, warmupSteps, learningRate } = startOf(before).args
  t.deepEqual([numTrainEpochs, perDeviceTrainBatchSize, warmupSteps, learningRate], [1, 4, 2, 0.02])
})

test('a label may hold a comma: in a list, and as JSON on the command line', async (t) => {
  for (const names of [
    ['a', 'b'],
    ['a', 'b, c'],
    ['[a]', 'b'],
    [' a', 'b']
  ])
    t.deepEqual(labelsOfText(labelsToText(names)), names)
  t.deepEqual(labelsOfText(' a , b'), ['a', 'b'])
  t.throws(() => labelsOfText('a,,b'), { message: /--labels: expected names with commas between, or a JSON list/ })
  const train = write('comma.jsonl', '{"input_ids": [5, 6], "label": "c, d"}\n{"input_ids": [7], "label": "a"}')
  const labels = ['c, d', 'a', 'rest']
  const output = join(place, 'comma')
  const first = await command(['train', write('comma.json', { model, train, labels, maxSteps: 1, output })])
  t.is(first.status, 0, first.errors)
  t.deepEqual(JSON.parse(readFileSync(join(output, 'train.json'), 'utf8')).labels, labels)
  const { label2id } = JSON.parse(readFileSync(join(output, 'head_config.json'), 'utf8')).config
  t.deepEqual(label2id, { 'c, d': 0, a: 1, rest: 2 })
})

test('a run folder keeps its config, with which the run is repeated or goes on from anywhere', async (t) => {
  const [whole, again, stopped] = ['whole', 'again', 'stopped'].map((name) => join(place, name)) as [
    string,
    string,
    string
  ]
  // Long enough that the signal comes before the end.
  const content = { ...settings, train: relative(process.cwd(), rows), name: 'a', numTrainEpochs: 60, eval: rows }
  const file = write('long.json', content)
  t.is((await command(['train', file, '-o', whole])).status, 0)
  const kept = JSON.parse(readFileSync(join(whole, 'train.json'), 'utf8'))
  t.is(kept.train, rows)
  t.is(kept.learningRate, 0.02)
  t.true(new Ajv().validate(trainSchema(), kept))
  t.is((await command(['train', join(whole, 'train.json'), '-o', again])).status, 0)
  t.true(weights(again).equals(weights(whole)))
  const { errors: stopErrors } = await interrupted(['train', file, '-o', stopped], 'step 9,')
  const [, step] =
    /interrupted after step (\d+), saved .*checkpoint-\1; go on with: torch-adapters resume .*stopped\n$/.exec(
      stopErrors
    ) ?? []
  t.true(Number(step) >= 9 && Number(step) < 180, stopErrors)
  t.deepEqual(readdirSync(join(stopped, 'checkpoints')), [`checkpoint-${step}`])
  const resumed = await command(['resume', stopped, '--json'])
  t.is(resumed.status, 0, resumed.errors)
  t.true(weights(stopped).equals(weights(whole)))
  const curves = (folder: string) =>
    readFileSync(join(folder, 'events.jsonl'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{"type":"steps"'))
      .map((line) => JSON.parse(line).loss)
  t.deepEqual(curves(stopped), curves(whole))
})

test('mistakes in a config name the file, and the nearest', async (t) => {
  const folder = join(place, 'never')
  const cases: [string, RegExp][] = [
    [
      write('a.json', { learningrate: 1 }),
      /a\.json: config: unknown option 'learningrate'\. Did you mean 'learningRate'\?/
    ],
    [write('b.json', { epochs: 1 }), /b\.json: config: 'epochs' is called 'numTrainEpochs' here/],
    [write('c1.json', { learning_rate: 1 }), /Did you mean 'learningRate'\?/],
    [write('d.json', { numTrainEpochs: '3' }), /d\.json: config\.numTrainEpochs: expected a number above 0, got '3'/],
    [write('e.yaml', 'tune: adaptor'), /e\.yaml: config\.tune: expected one of .*Did you mean 'adapter'\?/],
    [write('f.yaml', 'tune: [a'), /f\.yaml cannot be read: .*line 1/],
    [write('g.json', '{"a": '), /g\.json cannot be read: .*expected JSON, or YAML/],
    [write('h.json', '[]'), /h\.json: config: expected an object/],
    [write('j.json', { resumeFromCheckpoint: true }), /'resumeFromCheckpoint' is for the command line/]
  ]
  for (const [file, message] of cases) {
    const { status, errors } = await command(['train', file, '-m', model, '--train', rows, '-o', folder])
    t.is(status, 2, file)
    t.regex(errors, message)
  }
  const none = await command(['train', join(place, 'nowhere.json')])
  t.is(none.status, 2)
  t.regex(none.errors, /nowhere\.json does not exist/)
  t.false(existsSync(folder))
  mkdirSync(join(place, 'empty'))
  mkdirSync(join(place, 'run/checkpoints/checkpoint-1'), { recursive: true })
  writeFileSync(join(place, 'run/train.json'), '{}')
  for (const [args, message] of [
    [[join(place, 'run/checkpoints')], /which goes on with torch-adapters resume .*run\./],
    [[join(place, 'run/checkpoints/checkpoint-1')], /which goes on with torch-adapters resume .*run\./],
    [[], /expected a run's FOLDER first, got nothing/],
    [[join(place, 'empty')], /which has no train\.json/],
    [['--json'], /expected a run's FOLDER first/]
  ] as const) {
    const { status, errors } = await command(['resume', ...args])
    t.is(status, 2)
    t.regex(errors, message)
  }
})

test('the published JSON Schema is that of the rules', async (t) => {
  const { schemaText } = await script<{ schemaText(): Promise<string> }>('schema.mjs')
  t.is(readFileSync(join(repository, 'schema/train.schema.json'), 'utf8'), await schemaText(), 'run npm run schema')
})

test('the JSON Schema accepts what the arguments accept, and nothing else', (t) => {
  const validate = new Ajv({ allErrors: true }).compile(trainSchema())
  const { properties } = trainSchema() as { properties: Record<string, object> }
  const values = [
    ...[
      null,
      true,
      false,
      -1,
      0,
      0.5,
      1,
      1.5,
      3,
      1e9,
      '',
      'x',
      'no',
      'epoch',
      'adamw',
      'cosine',
      'balanced',
      [],
      {},
      ['x']
    ],
    ...[
      [{ match: 'head', learningRate: 1 }],
      [{ match: 'x' }],
      { momentum: 0.5 },
      { power: 2 },
      { dtype: 'float32' },
      { x: 1 }
    ]
  ]
  let accepted = 0
  for (const name of Object.keys(trainingArguments()).filter((one) => Object.hasOwn(properties, one))) {
    for (const value of values) {
      const isValid = validate({ [name]: value })
      t.is(isValid, isAccepted(name, value), `${name}: ${JSON.stringify(value)}`)
      accepted += Number(isValid)
    }
  }
  t.true(accepted > 100)
})

/** What depends on other arguments is not the schema's. */
function isAccepted(name: string, value: unknown): boolean {
  try {
    trainingArguments({ [name]: value })
    return true
  } catch (error) {
    return /needs|does not take|no number of rows|it sorts/.test((error as Error).message)
  }
}
