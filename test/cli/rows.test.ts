import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { command, fixtures, scratch } from './command.js'

const place = scratch()
const shared = ['--model', join(fixtures, 'models/bert-tiny'), '--threads', '1']
const adapter = ['--adapter', join(fixtures, 'folders/bert-seq_bn-bin')]
let files = 0

function file(content: string, extension = '.jsonl'): string {
  const path = join(place, `rows-${files++}${extension}`)
  writeFileSync(path, content)
  return path
}

const commands = (data: string): Record<string, string[]> => ({
  train: ['train', ...shared, '--train', data, '-o', join(place, `out-${files}`), '--max-steps', '1'],
  evaluate: ['evaluate', ...shared, ...adapter, '--data', data],
  predict: ['predict', ...shared, ...adapter, '--input', data]
})

test('bad rows end every command with status 1 and name the file and the line', async (t) => {
  const good = '{"input_ids": [5, 6], "label": 1}\n'
  const bad: [string, string, RegExp][] = [
    [`${good}{"input_ids": [5`, '.jsonl', /\.jsonl:2: /],
    [`${good}{"input_ids": [5, -6], "label": 0}\n`, '.jsonl', /\.jsonl:2\.inputIds\[1\]/],
    ['input_ids,lable\n5 6,1\n', '.csv', /\.csv:2: unknown field 'lable'\. Did you mean 'label'\?/]
  ]
  for (const [content, extension, message] of bad) {
    const data = file(content, extension)
    for (const [name, args] of Object.entries(commands(data))) {
      const { status, errors } = await command(args)
      t.is(status, 1, `${name} of ${content}: ${errors}`)
      t.true(errors.includes(data), errors)
      t.regex(errors, message, name)
      t.notRegex(errors, /\n\s+at |See torch-adapters/, name)
    }
  }
})

test('labels that are missing or do not fit, and a file without rows', async (t) => {
  const { train, evaluate } = commands(file('{"input_ids": [5]}\n'))
  for (const args of [train, evaluate]) {
    const { status, errors } = await command(args ?? [])
    t.is(status, 1, errors)
    t.regex(errors, /jsonl:1: this row has no label|no label/)
  }
  const empty = file('')
  for (const name of ['train', 'evaluate']) {
    const { status, errors } = await command(commands(empty)[name] ?? [])
    t.is(status, 1, errors)
    t.true(errors.includes(`${empty} has no rows`), errors)
  }
  // Nothing to answer is no mistake.
  t.is((await command(commands(empty)['predict'] ?? [])).status, 0)
})

test('a file of more than 64 MiB trains from where it is, as the same rows in memory do', async (t) => {
  const note = 'n'.repeat(70_000)
  const rows = Array.from({ length: 1000 }, (_, i) => ({
    input_ids: [5 + (i % 80), 91 + (i % 2)],
    label: i % 2 ? 'yes' : 'no'
  }))
  const lines = (more: object) => rows.map((row) => `${JSON.stringify({ ...row, ...more })}\n`).join('')
  const [small, large] = [file(lines({})), file(lines({ note }))]
  t.teardown(() => rmSync(large))
  const train = async (data: string, folder: string) => {
    const options = [
      '--name',
      'a',
      '--max-steps',
      '6',
      '--save',
      'steps',
      '--set',
      'saveSteps=4',
      '-o',
      join(place, folder)
    ]
    const result = await command(['train', ...shared, '--train', data, '--eval', data, ...options])
    t.is(result.status, 0, result.errors)
    t.regex(result.errors, /head: classification, 2 labels \(no, yes\)/)
    return readFileSync(join(place, folder, 'adapter.safetensors'))
  }
  t.true((await train(large, 'from-disk')).equals(await train(small, 'from-memory')))
  writeFileSync(large, '{"input_ids": [5, -6], "label": "no"}\n', { flag: 'a' })
  const wrong = await command(['train', ...shared, '--train', large, '-o', join(place, 'wrong')])
  t.is(wrong.status, 1)
  t.regex(wrong.errors, /^.*\.jsonl: 67 MiB stay on disk; every row is read and checked before the first step$/m)
  t.regex(wrong.errors, /\.jsonl:1001\.inputIds\[1\]/i)
})

test('a row that names no adapter of the command line', async (t) => {
  const data = file('{"input_ids": [5]}\n{"input_ids": [5], "adapter": "aa"}\n')
  const { status, errors } = await command(commands(data)['predict'] ?? [])
  t.is(status, 1, errors)
  t.true(errors.includes(`${data}:2: no adapter 'aa' (expected one of 'a', or null). Load it with --adapter`), errors)
  t.regex(errors, /Did you mean 'a'\?/)
})

test('counts that are none are mistakes of the command line', async (t) => {
  const data = file('{"input_ids": [5], "label": 1}\n')
  for (const name of ['evaluate', 'predict']) {
    for (const count of ['0', '1.5', '-3']) {
      const { status, errors } = await command([...(commands(data)[name] ?? []), `--batch-size=${count}`])
      t.is(status, 2, errors)
      t.true(errors.includes(`--batch-size: expected a positive integer, got '${count}'`), errors)
    }
  }
})

test('predict and generate read rows from standard input', async (t) => {
  const rows = '{"id": 1, "input_ids": [5, 6]}\n\n{"id": 2, "input_ids": [7]}'
  const args = commands('-')['predict'] ?? []
  const piped = await command(args, { input: rows })
  t.is(piped.status, 0, piped.errors)
  t.is(piped.output, (await command(commands(file(rows))['predict'] ?? [])).output)
  const target = join(place, 'piped.jsonl')
  t.is((await command([...args, '--output', target], { input: rows })).status, 0)
  t.is(readFileSync(target, 'utf8'), piped.output)
  const bad = await command(args, { input: `${rows}\n{"input_ids": [-1]}` })
  t.is(bad.status, 1)
  t.regex(bad.errors, /standard input:4\.inputIds\[0\]/)
  const gpt2 = ['generate', '--model', join(fixtures, 'models/gpt2-tiny'), '--input', '-', '--max-new-tokens', '2']
  const written = await command(gpt2, { input: rows })
  t.is(written.output.trim().split('\n').length, 2, written.errors)
})

test('what is no file of rows is refused, and a pipe is not waited for', async (t) => {
  const named = process.platform === 'win32' ? [] : [join(place, 'pipe.tsv')]
  for (const pipe of named) execFileSync('mkfifo', [pipe])
  for (const data of [place, ...named]) {
    for (const [name, args] of Object.entries(commands(data))) {
      const { status, errors } = await command(args)
      t.is(status, 2, name)
      t.regex(errors, data === place ? /expected a file, got .*, which is a folder/ : /which is a pipe or a device/)
    }
  }
  t.is((await command(commands('-')['train'] ?? [])).status, 2)
})
