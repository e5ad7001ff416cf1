import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../native/support.js'
import { script } from '../setup/script.js'

const { quickstart } = await script<{ quickstart(options: object): Promise<void> }>('quickstart/quickstart.mjs')
interface OptionsModule {
  readOptions(args: string[]): object
  checkPaths(options: object): void
}
const { readOptions, checkPaths } = await script<OptionsModule>('quickstart/options.mjs')
const { Problem } = await script<{ Problem: typeof Error }>('lib/terminal.mjs')

test('an encoder without a tokenizer is told before anything trains', async (t) => {
  const out = temporaryFolder(t)
  const data = join(out, 'rows.jsonl')
  const rows = ['good', 'bad', 'good', 'bad'].map((label, i) => JSON.stringify({ text: `text ${i}`, label }))
  writeFileSync(data, rows.join('\n'))
  const options = { data, model: 'test/parity/fixtures/models/bert-tiny', out, rows: 10, seed: 1, compare: false }
  await t.throwsAsync(quickstart(options), {
    instanceOf: Problem,
    message: /^--model: .*bert-tiny has no tokenizer, .*tokenizer\.json or vocab\.txt beside its config\.json/
  })
})

test('what no quickstart wrote is not deleted, and told of before anything trains', async (t) => {
  const out = temporaryFolder(t)
  const file = join(out, 'adapter', 'notes.txt')
  mkdirSync(join(out, 'adapter'))
  writeFileSync(file, 'mine')
  const options = { data: join(out, 'rows.jsonl'), model: 'nowhere', out, rows: 10, seed: 1, compare: false }
  await t.throwsAsync(quickstart(options), {
    instanceOf: Problem,
    message: /adapter holds notes\.txt, which no quickstart wrote/
  })
  t.true(existsSync(file))
})

test.serial('paths are read from where npm was called', (t) => {
  const before = process.env['INIT_CWD']
  t.teardown(() => {
    if (before === undefined) delete process.env['INIT_CWD']
    else process.env['INIT_CWD'] = before
  })
  const folder = temporaryFolder(t)
  mkdirSync(join(folder, 'encoder'))
  writeFileSync(join(folder, 'rows.jsonl'), '')
  process.env['INIT_CWD'] = folder
  const read = (model: string) => readOptions(['--data', 'rows.jsonl', '--out', 'results', '--model', model])
  t.like(read('encoder'), {
    ...{ data: join(folder, 'rows.jsonl'), out: join(folder, 'results'), model: join(folder, 'encoder') }
  })
  t.like(read('owner/encoder'), { model: 'owner/encoder' })
  t.notThrows(() => checkPaths(read('encoder')))
  for (const data of ['nothing.jsonl', 'encoder']) {
    const message = new RegExp(`^--data: expected a file of rows, got .*${data}, which is no file`)
    t.throws(() => checkPaths(readOptions(['--data', data])), { instanceOf: Problem, message })
  }
})
