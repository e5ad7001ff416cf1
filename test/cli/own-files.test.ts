import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, AutoModel } from '../../lib/index.js'
import { command, fixtures, scratch } from './command.js'
import { writeLabelledRows } from './labelled-rows.js'

const place = scratch()
const model = join(fixtures, 'models/bert-tiny')
const rows = join(place, 'rows.jsonl')
const shared = ['-m', model, '--threads', '1', '--seed', '3', '--max-steps', '1']

test.before(() => writeLabelledRows(rows))

function folderWith(folder: string, name: string, text: string): string {
  mkdirSync(join(place, folder))
  writeFileSync(join(place, folder, name), text)
  return join(place, folder)
}

for (const name of ['train.json', 'events.jsonl', 'report.html']) {
  test(`a file of one's own called ${name} is not written over, whether the run reads it or not`, async (t) => {
    const text = readFileSync(rows, 'utf8')
    const folder = folderWith(`own-${name}`, name, text)
    const own = join(folder, name)
    const train = name === 'report.html' ? rows : own
    for (const more of [[], ['--overwrite']]) {
      const { status, errors } = await command(['train', ...shared, '--train', train, '-o', folder, ...more])
      t.is(status, 2, errors)
      const problem = `--output: ${own} is there and no run wrote it; this one would write over it`
      t.true(errors.includes(problem), errors)
      t.is(readFileSync(own, 'utf8'), text)
    }
    t.deepEqual(readdirSync(folder), [name])
  })
}

test("a config of one's own in the folder is no run's; a run's own is taken again", async (t) => {
  const config = { model, train: rows, output: join(place, 'configured'), maxSteps: 1, trunk: 'float32', reportTo: [] }
  const folder = folderWith('configured', 'train.json', JSON.stringify(config))
  const file = join(folder, 'train.json')
  const { status, errors } = await command(['train', file])
  t.is(status, 2, errors)
  t.deepEqual(JSON.parse(readFileSync(file, 'utf8')), config)
  const own = join(place, 'again')
  for (const more of [[], ['--overwrite']]) {
    const run = await command(['train', ...shared, '--train', rows, '-o', own, ...more])
    t.is(run.status, 0, run.errors)
  }
  const anew = await command(['train', join(own, 'train.json'), '-o', own, '--overwrite'])
  t.is(anew.status, 0, anew.errors)
})

test('--overwrite removes what runs wrote among the checkpoints, and nothing else', async (t) => {
  const folder = join(place, 'kept')
  const args = ['train', ...shared, '--train', rows, '-o', folder, '--save', 'steps', '--save-steps', '1']
  t.is((await command(args)).status, 0)
  const checkpoints = join(folder, 'checkpoints')
  t.deepEqual(readdirSync(checkpoints), ['checkpoint-1'])
  writeFileSync(join(checkpoints, 'rows.jsonl'), 'mine')
  const again = ['train', ...shared, '--train', rows, '-o', folder, '--overwrite', '--save', 'no']
  const { status, errors } = await command(again)
  t.is(status, 0, errors)
  t.deepEqual(readdirSync(checkpoints), ['rows.jsonl'])
})

test('what an earlier run left under one that --overwrite began and that was killed is told', async (t) => {
  const folder = join(place, 'killed')
  const args = ['train', ...shared, '--train', rows, '-o', folder, '--save', 'no']
  t.is((await command(args)).status, 0)
  // As far as the second one came.
  const lines = readFileSync(join(folder, 'events.jsonl'), 'utf8').split('\n')
  writeFileSync(join(folder, 'events.jsonl'), `${lines[0]}\n`)
  const resumed = await command(['resume', folder])
  t.is(resumed.status, 2)
  t.regex(
    resumed.errors,
    /has no checkpoint yet, and what was trained there is of an earlier one\. To begin it anew: torch-/
  )
  const measured = await command(['evaluate', '-m', model, '-a', folder, '--data', rows])
  t.is(measured.status, 0, measured.errors)
  t.regex(measured.errors, /--adapter: what was trained in .*killed is of an earlier run than its train\.json/)
  t.is((await command([...args, '--overwrite'])).status, 0)
  t.notRegex((await command(['evaluate', '-m', model, '-a', folder, '--data', rows])).errors, /earlier run/)
})

test('a trainer refuses to write over what no run wrote, before its first step', async (t) => {
  const folder = folderWith('logged', 'events.jsonl', '{"text": "mine", "label": 1}\n')
  const loaded = await AutoModel.fromPretrained(model)
  loaded.addAdapter('a')
  loaded.addClassificationHead('a', { numLabels: 2 })
  loaded.trainAdapter('a')
  const trainDataset = [{ inputIds: [5, 6], label: 1 }]
  const args = { outputDir: folder, maxSteps: 1, reportTo: 'jsonl', saveStrategy: 'no' } as const
  const train = () => new AdapterTrainer({ model: loaded, trainDataset, args }).train()
  await t.throwsAsync(train, { code: 'ERR_FILE_EXISTS', message: /events\.jsonl is there and no run wrote it/ })
  t.true(readFileSync(join(folder, 'events.jsonl'), 'utf8').includes('mine'))
  // One that a crash left empty, or cut off, is a run's.
  for (const text of ['', '{"type":"st']) {
    writeFileSync(join(folder, 'events.jsonl'), text)
    await train()
    t.regex(readFileSync(join(folder, 'events.jsonl'), 'utf8'), /^\{"type":"start".*"type":"end"[^\n]*\n$/s)
  }
  loaded.dispose()
})
