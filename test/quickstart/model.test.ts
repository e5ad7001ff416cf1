import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../native/support.js'
import { script } from '../setup/script.js'

const { quickstart } = await script<{ quickstart(options: object): Promise<void> }>('quickstart/quickstart.mjs')
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
