// The newcomer's first command without its set-up, which CI has done by then: rows of one's own, from reading to the page.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { temporaryFolder } from '../native/support.js'
import { startProcess } from '../support/process.js'

const job = `
const { readOptions } = await import(process.cwd() + '/scripts/quickstart/options.mjs')
const { quickstart } = await import(process.cwd() + '/scripts/quickstart/quickstart.mjs')
await quickstart(readOptions(process.argv.slice(1)))`

const animals = ['cat', 'dog', 'fox', 'owl', 'cow', 'hen', 'pig', 'rat']
const tools = ['saw', 'axe', 'nail', 'drill', 'rope', 'clamp', 'file', 'vice']

test('the whole job: every way is measured, and the adapter that is saved answers as the one that was trained', async (t) => {
  const folder = temporaryFolder(t)
  const rows = Array.from({ length: 400 }, (_, i) => ({
    text: `a ${[animals, tools][i % 2]?.[Math.floor(i / 2) % 8]} of number ${i}`,
    label: ['animal', 'tool'][i % 2]
  }))
  const [data, out] = [join(folder, 'rows.jsonl'), join(folder, 'out')]
  writeFileSync(data, rows.map((row) => JSON.stringify(row)).join('\n'))
  const args = ['--input-type=module', '-e', job, '--', '--data', data, '--out', out]
  const { code, stdout, stderr } = await startProcess(process.execPath, args).ended
  t.is(code, 0, stderr)

  const printed = `${stdout}${stderr}`
  t.regex(printed, /saving and loading back: .*all \d+ logits of \d+ rows are the same/)
  for (const way of ['majority class', 'bag of words', 'head alone', 'adapter and head']) {
    t.regex(printed, new RegExp(`^${way} +[01]\\.\\d{4} +[01]\\.\\d{4}`, 'm'), printed)
  }
  const accuracy = Number(/^adapter and head +([\d.]+)/m.exec(printed)?.[1])
  t.true(accuracy > 0.9, `${accuracy}`)

  const pages = /Learning curves: (\S+\.html)/.exec(printed)
  t.truthy(pages, printed)
  const page = join(out, pages?.[1]?.split('/').at(-1) ?? '')
  t.true(existsSync(page))
  t.regex(readFileSync(page, 'utf8'), /adapter and head/)

  const model = await AutoModel.fromPretrained('models/wordnet-bert-mini')
  t.teardown(() => model.dispose())
  const name = await model.loadAdapter(join(out, 'adapter'))
  const answers = await model.predict(['a cat of number 1', 'a saw of number 2'], { adapters: name })
  t.deepEqual(
    answers.map(({ label }) => label),
    ['animal', 'tool']
  )
})
