import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { interruptions } from '../../lib/cli/interruptions.js'
import { FileOutput } from '../../lib/cli/output.js'
import { command, fixtures, scratch } from './command.js'

const place = scratch()
const rows = join(place, 'rows.jsonl')
const file = join(place, 'file')
const shared = ['--model', join(fixtures, 'models/bert-tiny'), '--threads', '1']
const train = ['train', ...shared, '--train', rows, '--max-steps', '1']
const trained = join(place, 'trained')

test.before(async (t) => {
  const lines = Array.from({ length: 8 }, (_, id) => `{"input_ids": [5, ${id + 6}], "label": ${id % 2}}\n`)
  writeFileSync(rows, lines.join(''))
  writeFileSync(file, '')
  const { status, errors } = await command([...train, '-o', trained])
  t.is(status, 0, errors)
})

test('a failed write names the file', (t) => {
  const place = join(scratch(), 'answers')
  const output = new FileOutput(place)
  output.discard()
  t.throws(() => output.write('a'), { code: 'ERR_FILE', message: new RegExp(`^write: ${place} cannot be used: EBADF`) })
})

test('train refuses a place for its result before it trains', async (t) => {
  for (const output of [file, join(file, 'below')]) {
    const { status, errors } = await command([...train, '-o', output])
    t.is(status, 2, errors)
    t.regex(errors, /--output: expected a folder that can be made, got .*, which is a file or lies below one\. See/)
    t.notRegex(errors, /loss/)
  }
})

test('train refuses a place for its report before it trains', async (t) => {
  const folder = join(place, 'report')
  mkdirSync(folder)
  const report = await command([...train, '-o', join(place, 'a'), '--report', folder])
  t.is(report.status, 2, report.errors)
  t.regex(report.errors, /--report: expected a file, got .*, which is a folder\. See/)
  const below = await command([...train, '-o', join(place, 'b'), '--report', join(file, 'report.html')])
  t.is(below.status, 1, below.errors)
  t.notRegex(below.errors, /loss/)
})

test('train replaces an earlier report, and no other file', async (t) => {
  const page = join(place, 'earlier.html')
  writeFileSync(page, '<!doctype html><title>earlier</title>')
  const again = await command([...train, '-o', join(place, 'c'), '--report', page])
  t.is(again.status, 0, again.errors)
  t.notRegex(readFileSync(page, 'utf8'), /earlier/)
  const others = join(place, 'others.csv')
  writeFileSync(others, 'text,label\na,1\n')
  const refused = await command([...train, '-o', join(place, 'd'), '--report', others])
  t.is(refused.status, 2, refused.errors)
  t.regex(refused.errors, /--report: .*others\.csv is there and is no page of HTML/)
  t.is(readFileSync(others, 'utf8'), 'text,label\na,1\n')
})

test('predict refuses a table for answers that are JSON', async (t) => {
  const table = join(scratch(), 'answers.csv')
  const { status, errors } = await command(['predict', ...shared, '-a', trained, '-i', rows, '-o', table])
  t.is(status, 2, errors)
  t.regex(errors, /--output: answers are a JSON object a line; call the file \.jsonl, got .*answers\.csv/)
  t.false(existsSync(table))
})

test('predict refuses a folder as its output and leaves nothing beside it', async (t) => {
  const parent = join(place, 'answers')
  mkdirSync(join(parent, 'folder'), { recursive: true })
  const { status, errors } = await command([
    ...['predict', ...shared, '-a', trained],
    ...['-i', rows, '-o', join(parent, 'folder')]
  ])
  t.is(status, 2, errors)
  t.regex(errors, /--output: expected a file, got .*, which is a folder/)
  t.deepEqual(readdirSync(parent), ['folder'])
})

test('answers go through a pipe or a device, which stays what it is, and through a link to the file behind it', async (t) => {
  const folder = scratch()
  const predict = async (output: string) =>
    await command(['predict', ...shared, '-a', trained, '-i', rows, '-o', output])
  if (process.platform !== 'win32') {
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    const reader = spawn('cat', [pipe])
    let read = ''
    reader.stdout.on('data', (piece) => {
      read += piece
    })
    const ended = once(reader, 'close')
    const { status, errors } = await predict(pipe)
    t.is(status, 0, errors)
    await ended
    t.is(read.trim().split('\n').length, 8)
    t.true(statSync(pipe).isFIFO())
  }
  const [target, link] = [join(folder, 'target.jsonl'), join(folder, 'link.jsonl')]
  writeFileSync(target, 'before')
  symlinkSync(target, link)
  t.is((await predict(link)).status, 0)
  t.true(lstatSync(link).isSymbolicLink())
  t.is(readFileSync(target, 'utf8').trim().split('\n').length, 8)
  t.is(readdirSync(folder).filter((name) => name.endsWith('.part')).length, 0)
})

test('standard output on a full disk is said in one line', async (t) => {
  if (!existsSync('/dev/full')) {
    t.pass()
    return
  }
  const child = spawn(process.execPath, ['dist/lib/cli/main.js', 'inspect', trained], {
    stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe']
  })
  let errors = ''
  child.stderr?.on('data', (piece) => {
    errors += piece
  })
  const [status] = await once(child, 'close')
  t.is(status, 1)
  t.regex(errors, /^torch-adapters inspect: standard output cannot be written: ENOSPC[^\n]*\n$/)
})

test('a reader that has enough ends a command quietly', async (t) => {
  const child = spawn(process.execPath, ['dist/lib/cli/main.js', 'predict', ...shared, '-a', trained, '-i', rows])
  let errors = ''
  child.stderr.on('data', (text) => {
    errors += text
  })
  child.stdout.destroy()
  const [status] = await once(child, 'close')
  t.is(status, 0, errors)
  t.notRegex(errors, /EPIPE|at /)
})

test("null as a row's adapter is none; a row without the field gets the first", async (t) => {
  const input = join(place, 'adapters.jsonl')
  writeFileSync(
    input,
    '{"input_ids": [5, 6]}\n{"input_ids": [5, 6], "adapter": null}\n{"input_ids": [5, 6], "adapter": ""}\n'
  )
  const { status, errors, output } = await command(['predict', ...shared, '-a', trained, '-i', input])
  t.is(status, 0, errors)
  const [first, none, empty] = output
    .trim()
    .split('\n')
    .map((line) => Number(JSON.parse(line).score))
  const apart = (score: number | undefined) => Math.abs((first as number) - (score as number))
  t.true(apart(none) > 1e-6, output)
  // A CSV file has no other way to leave a cell out.
  t.true(apart(empty) < 1e-7, output)
})

test('evaluate takes one adapter; a row whose adapter is misspelled is refused', async (t) => {
  const twice = await command(['evaluate', ...shared, '-a', trained, '--adapter', 'other', '-d', rows])
  t.is(twice.status, 2)
  t.regex(twice.errors, /--adapter: expected one, or a --setup of them.*, got .* and other/)
  const input = join(place, 'misspelled.jsonl')
  writeFileSync(input, '{"input_ids": [5], "adaptor": "a"}\n')
  const misspelled = await command(['predict', ...shared, '-a', trained, '-i', input])
  t.is(misspelled.status, 1)
  t.regex(misspelled.errors, /misspelled\.jsonl:1: unknown field 'adaptor'\. Did you mean 'adapter'\?/)
})

test('nothing is written over what the command reads', async (t) => {
  const before = readFileSync(rows, 'utf8')
  const answers = await command(['predict', ...shared, '-a', trained, '-i', rows, '-o', rows])
  t.is(answers.status, 2)
  t.regex(answers.errors, /--output: .*rows\.jsonl is what --input reads/)
  const report = await command([...train, '-o', join(place, 'c'), '--report', rows])
  t.is(report.status, 2)
  t.regex(report.errors, /--report: .*rows\.jsonl is what --train reads/)
  t.is(readFileSync(rows, 'utf8'), before)
})

test('more threads than any machine has are refused', async (t) => {
  const { status, errors } = await command(['evaluate', ...shared, '-a', trained, '-d', rows, '--threads', '99999'])
  t.is(status, 2)
  t.regex(errors, /threads: expected a positive integer up to 1024, got 99999/)
})

test('a training goes on where nobody reads what it tells, or its terminal closes', async (t) => {
  const folder = join(place, 'unread')
  const args = ['dist/lib/cli/main.js', ...train, '--logging-steps', '1', '--json', '-o', folder]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.destroy()
  child.stderr.destroy()
  const [status] = await once(child, 'exit')
  t.is(status, 0)
  t.true(existsSync(join(folder, 'adapter.safetensors')))
  // Begun by nohup it is not told.
  if (process.platform === 'win32' || !interruptions().includes('SIGHUP')) return
  const stopped = join(place, 'hung-up')
  let isSent = false
  const outcome = await command([...train, '--max-steps', '100000', '--save', 'no', '-o', stopped], {
    onErrors: (errors, kill) => {
      if (errors.includes('step ') && !isSent) kill('SIGHUP')
      isSent ||= errors.includes('step ')
    }
  })
  t.is(outcome.status, 130, outcome.errors)
  t.regex(outcome.errors, /interrupted after step \d+, saved /)
})
