import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { withinTime } from '../../lib/data/time-limit.js'
import { TextTokenizer } from '../../lib/data/tokenizer.js'
import { readTokenizerFiles } from '../../lib/data/tokenizer-files.js'
import { temporaryFolder } from '../native/support.js'

const { model, config } = readTokenizerFiles('test/data/fixtures/tokenizers/bert')

const split = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })

/** Both double their time with each letter: these would take the age of the universe. */
const endless = `${'a'.repeat(120)}!`

for (const [what, fields] of Object.entries({
  'a pre-tokenizer': { pre_tokenizer: split('(a+)+$') },
  'one of several': { pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits' }, split('(a|a)+$')] } },
  'a normalizer': { normalizer: { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: 'b' } }
})) {
  test(`${what} that takes for ever is ended, and the tokenizer goes on`, (t) => {
    const tokenizer = new TextTokenizer({ model: { ...model, ...fields }, config })
    const error = t.throws(() => tokenizer.encode(endless), { code: 'ERR_TOKENIZER' })
    t.regex(
      error?.message ?? '',
      /an expression in tokenizer\.json, or another of its parts, takes too long on this text/
    )
    t.true(tokenizer.encode('bb').inputIds.length > 2)
  })
}

test('a decoder that takes for ever is ended', (t) => {
  const decoder = { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' }
  const tokenizer = new TextTokenizer({ model: { ...model, decoder }, config })
  const id = tokenizer.tokenToId('a') ?? 0
  t.is(tokenizer.decode([id]), '')
  const long = { ...model, decoder, added_tokens: [{ id: 4, content: endless, special: false }] }
  t.throws(() => new TextTokenizer({ model: long, config }).decode([4]), { code: 'ERR_TOKENIZER' })
})

test("an expression that does the library's own work gives its ids", (t) => {
  const pattern = { Regex: String.raw`[^\s\p{P}]+|\p{P}` }
  const own = { ...model, pre_tokenizer: { type: 'Split', pattern, behavior: 'Removed', invert: true } }
  const text = 'a small, furry animal!'
  t.deepEqual(new TextTokenizer({ model: own, config }).encode(text), new TextTokenizer({ model, config }).encode(text))
})

test('work that had no processor begins anew with more time; work that had its time is ended', (t) => {
  let runs = 0
  const work = () => {
    runs++
    while (runs < 3) {
      // for ever
    }
    return runs
  }
  t.is(
    withinTime(5, work, () => 0),
    3
  )
  runs = 0
  let had = 0
  const ended = { code: 'ERR_SCRIPT_EXECUTION_TIMEOUT' }
  t.throws(() => withinTime(5, work, () => (had += 5)), ended)
  t.is(runs, 1)
  // Whatever a clock says, there is an end.
  runs = -100
  t.throws(() => withinTime(1, work, () => 0), ended)
  t.throws(
    () =>
      withinTime(5, () => {
        throw new RangeError('its own')
      }),
    { instanceOf: RangeError }
  )
})

test('parts of no length are refused', (t) => {
  const folder = temporaryFolder(t)
  for (const length of [0, -1, 0.5, '3']) {
    const file = { ...model, pre_tokenizer: { type: 'FixedLength', length } }
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(file))
    t.throws(() => TextTokenizer.fromFolder(folder), {
      code: 'ERR_INVALID_FILE',
      message: /fixed length has the length/
    })
  }
})
