import { cpSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { command, fixtures, scratch } from './command.js'

const place = scratch()
const rows = join(place, 'rows.jsonl')
const first = join(place, 'first')
const second = join(place, 'lr=0.1')
const shared = ['predict', '--model', join(fixtures, 'models/bert-tiny'), '--threads', '1', '-i', rows]

// Both hold an adapter named 'a'.
test.before(() => {
  cpSync(join(fixtures, 'folders/bert-seq_bn-bin'), first, { recursive: true })
  cpSync(join(fixtures, 'folders/bert-prelu'), second, { recursive: true })
  writeFileSync(rows, '{"input_ids": [5, 6]}\n{"input_ids": [5, 6], "adapter": "b"}\n')
})

test('two adapters of one name: the mistake names both, and NAME= mends it', async (t) => {
  const same = await command([...shared, '-a', first, '-a', second])
  t.is(same.status, 2, same.errors)
  t.true(same.errors.includes(`--adapter: ${first} and ${second} both hold an adapter named 'a'.`), same.errors)
  t.true(same.errors.includes(`--adapter a-2=${second}. See torch-adapters predict --help`), same.errors)
  t.notRegex(same.errors, /overwriteOk/)
  const renamed = await command([...shared, '-a', first, '-a', `b=${second}`])
  t.is(renamed.status, 0, renamed.errors)
  const [one, other] = renamed.output.trim().split('\n')
  t.not(one, other)
})

test('one adapter twice, under any path', async (t) => {
  const link = join(place, 'link')
  symlinkSync(first, link, 'junction')
  for (const again of [first, link, `a=${first}`]) {
    const { status, errors } = await command([...shared, '-a', first, '-a', again])
    t.is(status, 2, errors)
    t.true(errors.includes('--adapter: expected each adapter once, got '), errors)
  }
})

test('a name that cannot be one', async (t) => {
  const { status, errors } = await command([...shared, '-a', `b.c=${first}`])
  t.is(status, 2, errors)
  t.regex(errors, /a name cannot hold a point, got 'b\.c'/)
})
