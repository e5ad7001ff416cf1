import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import test from 'ava'
import { thisProcess } from '../../lib/native/owner.js'
import { repository } from '../native/support.js'
import { startProcess } from '../support/process.js'
import { command, fixtures, interrupted, scratch } from './command.js'
import { writeLabelledRows } from './labelled-rows.js'

const place = scratch()
const model = join(repository, fixtures, 'models/bert-tiny')
const rows = join(place, 'rows.jsonl')
const shared = ['-m', model, '--train', rows, '--threads', '1', '--seed', '3', '--learning-rate', '0.02']

test.before(() => writeLabelledRows(rows))

const weights = (folder: string) => readFileSync(join(folder, 'adapter.safetensors'))

test('the folder of a run goes on under another name, and from a copy', async (t) => {
  const whole = join(place, 'mood')
  const args = ['train', ...shared, '--epochs', '60']
  t.is((await command([...args, '-o', whole, '--name', 'stopped'])).status, 0)
  const stopped = join(place, 'stopped')
  await interrupted([...args, '-o', stopped, '--set', 'loggingSteps=5'], 'step 10')
  t.is(JSON.parse(readFileSync(join(stopped, 'train.json'), 'utf8')).name, 'stopped')
  const copy = join(place, 'copy of it')
  cpSync(stopped, copy, { recursive: true })
  const moved = join(place, 'moved')
  renameSync(stopped, moved)
  for (const folder of [copy, moved]) {
    const { status, errors } = await command(['resume', folder])
    t.is(status, 0, errors)
    t.true(weights(folder).equals(weights(whole)))
    t.true(existsSync(join(folder, 'events.jsonl')))
  }
  t.false(existsSync(stopped))
})

test('a resumed run calls the base model as the run was told it', async (t) => {
  const folder = join(place, 'named')
  const typed = relative(process.cwd(), model)
  const run = ['train', '-m', typed, '--train', rows, '--threads', '1', '-o', folder, '--max-steps', '2']
  const first = await command([...run, '--save', 'steps', '--set', 'saveSteps=1'])
  t.is(first.status, 0, first.errors)
  const name = () => JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')).model_name
  t.is(name(), typed)
  const { status, errors } = await command(['resume', folder, '--max-steps', '3'])
  t.is(status, 0, errors)
  t.is(name(), typed)
  t.is(JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')).model, model)
})

test('--plan plans over what an earlier run left, and leaves it as it is', async (t) => {
  const folder = join(place, 'planned-over')
  t.is((await command(['train', ...shared, '-o', folder, '--max-steps', '2', '--save', 'epoch'])).status, 0)
  const tasks = join(place, 'planned-tasks.json')
  writeFileSync(tasks, JSON.stringify({ mood: { train: rows }, topic: { train: rows } }))
  const several = ['train', '--tasks', tasks, '-m', model, '--threads', '1', '--max-steps', '2']
  const ofTasks = join(place, 'planned-over-tasks')
  t.is((await command([...several, '-o', ofTasks])).status, 0)
  const files = (at: string) => readdirSync(at, { recursive: true }).map(String).sort()
  const before = [files(folder), files(ofTasks)]
  for (const args of [
    ['train', ...shared, '-o', folder],
    ['train', ...shared, '-o', folder, '--tune', 'full'],
    [...several, '-o', ofTasks],
    ['train', ...shared, '-o', ofTasks]
  ]) {
    const { status, output, errors } = await command([...args, '--plan'])
    t.is(status, 0, errors)
    t.regex(output, /^total +\d/m)
    t.is((await command(args)).status, 2)
  }
  t.deepEqual([files(folder), files(ofTasks)], before)
})

test('--overwrite does not take the folder of a run that has not ended', async (t) => {
  const folder = join(place, 'running')
  const args = ['train', ...shared, '-o', folder, '--max-steps', '2']
  t.is((await command([...args, '--save', 'steps', '--set', 'saveSteps=1'])).status, 0)
  const checkpoints = join(folder, 'checkpoints')
  const before = readdirSync(checkpoints)
  const lock = join(checkpoints, '.run.lock')
  writeFileSync(lock, JSON.stringify(thisProcess))
  const refused = await command([...args, '--overwrite'])
  t.is(refused.status, 1)
  t.regex(refused.errors, /another run, .* writes into .*checkpoints/)
  t.deepEqual(readdirSync(checkpoints).sort(), [...before, '.run.lock'].sort())
  rmSync(lock)
  t.is((await command([...args, '--overwrite'])).status, 0)
})

test('a run that is finished is not trained again; one that stopped early goes on with more patience', async (t) => {
  const folder = join(place, 'finished')
  const save = ['--set', 'saveStrategy=steps', '--set', 'saveSteps=2', '--set', 'saveTotalLimit=2']
  t.is((await command(['train', ...shared, '-o', folder, '--max-steps', '5', ...save])).status, 0)
  const before = weights(folder)
  for (const args of [
    ['resume', folder],
    ['train', ...shared, '-o', folder, '--max-steps', '5', ...save, '--resume']
  ]) {
    const { status, output, errors } = await command(args)
    t.is(status, 0, errors)
    t.regex(
      output,
      /finished is finished, at step 5: nothing is left to train\. With more .* resume .* --epochs N .*\. To train it anew: torch-adapt/
    )
    t.notRegex(errors, /saved/)
  }
  // Who resumes it with other settings does not get them, and is told.
  for (const [more, message] of [
    [
      ['--learning-rate', '0.5'],
      /finished, with other settings \(expected learningRate 0\.02, got learningRate 0\.5\)/
    ],
    [
      ['--config', 'lora'],
      /expected config\.architecture bottleneck, got config\.architecture lora|expected config.*lora/
    ],
    [['--seed', '4'], /expected seed 3, got seed 4/]
  ] as const) {
    const other = await command(['train', ...shared, '-o', folder, '--max-steps', '5', ...save, '--resume', ...more])
    t.is(other.status, 2, other.output)
    t.regex(other.errors, message)
  }
  t.deepEqual(JSON.parse((await command(['resume', folder, '--json'])).output), { type: 'finished', folder, step: 5 })
  const bare = join(place, 'bare')
  t.is((await command(['train', ...shared, '-o', bare, '--max-steps', '1', '--save', 'no'])).status, 0)
  const none = await command(['resume', bare])
  t.is(none.status, 0, none.errors)
  t.regex(none.output, /^the run in .*bare is finished, at step 1: nothing is left to train\. To train it anew:/)
  const stuck = await command(['resume', bare, '--max-steps', '3'])
  t.is(stuck.status, 2)
  t.regex(
    stuck.errors,
    /bare is finished, and no checkpoint is there to go on from: --save steps or epoch .*To train it anew: /
  )
  // The checkpoint of step 4 is there, beside that of the end, for who wants it.
  const again = await command(['resume', folder, '--resume-from', join(folder, 'checkpoints/checkpoint-4')])
  t.is(again.status, 0, again.errors)
  t.regex(again.errors, /^1 step \(5 with those before\)/m)
  t.true(weights(folder).equals(before))
  // With more steps it goes on from its newest checkpoint, and says how its rate goes on.
  const longer = await command(['resume', folder, '--max-steps', '7'])
  t.is(longer.status, 0, longer.errors)
  t.regex(
    longer.errors,
    /the run was to have 5 steps and now has 7; from step 6 on the learning rate is that of a run of 7/
  )
  t.regex(longer.errors, /^2 steps \(7 with those before\)/m)
  t.false(weights(folder).equals(before))
  t.regex((await command(['resume', folder])).output, /is finished, at step 7: nothing is left/)
  const shorter = await command(['resume', folder, '--max-steps', '3'])
  t.is(shorter.status, 2)
  t.regex(
    shorter.errors,
    /--max-steps 3: the run is finished, at step 7, and cannot become shorter than what it has done/
  )
  t.is((await command(['resume', folder, '--max-steps', '6'])).status, 2)
  // Without its result a run is not finished, whatever its events say.
  for (const file of ['adapter_config.json', 'head_config.json']) rmSync(join(folder, file))
  const lost = await command(['resume', folder])
  t.is(lost.status, 0, lost.errors)
  t.true(existsSync(join(folder, 'adapter_config.json')))

  const early = join(place, 'early')
  const patient = ['--eval', rows, '--epochs', '12', '--save', 'epoch', '--best', 'macroF1']
  const first = await command(['train', ...shared, '-o', early, ...patient, '--early-stopping', '1'])
  t.is(first.status, 0, first.errors)
  t.regex(first.errors, /ended early/)
  // More steps would change nothing: it is patience that it lacks.
  for (const more of [[], ['--epochs', '14']]) {
    const { output } = await command(['resume', early, ...more])
    t.regex(output, /is finished, at step \d+ \(early, since .*With more patience it goes on: .* --early-stopping N/)
    t.notRegex(output, /--epochs N/)
  }
  const patienter = await command(['resume', early, '--early-stopping', '20'])
  t.is(patienter.status, 0, patienter.errors)
  t.regex(patienter.errors, /\(36 with those before\)/)
})

test('--epochs take the place of the steps that a run was given before, or that a config has', async (t) => {
  const folder = join(place, 'epochs')
  const save = ['--save', 'steps', '--save-steps', '2']
  // Three steps are an epoch.
  t.is((await command(['train', ...shared, '-o', folder, '--max-steps', '4', ...save])).status, 0)
  t.regex((await command(['resume', folder])).output, /is finished, at step 4/)
  const shorter = await command(['resume', folder, '--epochs', '1'])
  t.is(shorter.status, 2, shorter.output)
  t.regex(shorter.errors, /--epochs 1: the run is finished, at step 4, and cannot become shorter than what it has done/)
  const longer = await command(['resume', folder, '--epochs', '2'])
  t.is(longer.status, 0, longer.errors)
  t.regex(longer.errors, /^2 steps \(6 with those before\)/m)
  // Behind an --epochs, --max-steps is the newer wish, and so on.
  t.is((await command(['resume', folder, '--max-steps', '7'])).status, 0)
  t.regex((await command(['resume', folder, '--set', 'numTrainEpochs=3'])).errors, /\(9 with those before\)/)
  t.regex((await command(['resume', folder])).output, /is finished, at step 9/)
})

test('a run without events cannot be told from one that has not ended, and resume says what lies there', async (t) => {
  const folder = join(place, 'quiet')
  const args = ['train', ...shared, '-o', folder, '--max-steps', '2', '--save', 'no', '--report-to', 'none']
  const first = await command(args)
  t.is(first.status, 0, first.errors)
  const { status, errors } = await command(['resume', folder])
  t.is(status, 2)
  t.regex(
    errors,
    /what was trained lies in .*quiet, but no events .* --report-to none.*To train it anew: torch-adapters train/
  )
})

test('a run that was killed at its end, before all of its results were written, writes them when it is resumed', async (t) => {
  const folder = join(place, 'killed')
  const events = join(folder, 'events.jsonl')
  t.is((await command(['train', ...shared, '-o', folder, '--epochs', '1', '--save', 'epoch'])).status, 0)
  const shorter = weights(folder)
  t.is((await command(['resume', folder, '--epochs', '2'])).status, 0)
  const longer = weights(folder)
  t.false(longer.equals(shorter))
  // As it was between the last step and the first result: that of the shorter run lies there still.
  const lines = readFileSync(events, 'utf8').trimEnd().split('\n')
  t.is(JSON.parse(lines.at(-1) ?? '').type, 'results')
  writeFileSync(events, `${lines.slice(0, -1).join('\n')}\n`)
  writeFileSync(join(folder, 'adapter.safetensors'), shorter)
  const { status, errors } = await command(['resume', folder])
  t.is(status, 0, errors)
  t.true(weights(folder).equals(longer))
  t.regex((await command(['resume', folder])).output, /is finished/)
})

test('evaluate, predict and others say of an unfinished run that it is one, and what can be taken', async (t) => {
  const folder = join(place, 'unfinished')
  await interrupted(['train', ...shared, '-o', folder, '--epochs', '200', '--set', 'loggingSteps=2'], 'step 4')
  const pattern =
    /unfinished is the folder of a run that has not ended: go on with torch-adapters resume .*unfinished, or take/
  const of = (name: string, ...args: string[]) => command([name, ...args])
  for (const outcome of [
    await of('evaluate', '-m', model, '-a', folder, '-d', rows),
    await of('evaluate', '-m', model, '--head', folder, '-d', rows),
    await of('evaluate', '-m', folder, '-a', folder, '-d', rows),
    await of('predict', '-m', model, '-a', folder, '-i', rows),
    await of('predict', '-m', model, '--setup', folder, '-i', rows)
  ]) {
    t.is(outcome.status, 2)
    t.regex(outcome.errors, pattern)
  }
  const { errors } = await of('evaluate', '-m', model, '-a', folder, '-d', rows)
  const checkpoint = /newest checkpoint has: (\S+checkpoint-\d+\/unfinished)\./.exec(errors)?.[1] ?? errors
  t.is((await of('evaluate', '-m', model, '-a', checkpoint, '-d', rows)).status, 0)
  const other = join(place, 'begun')
  mkdirSync(other)
  writeFileSync(join(other, 'train.json'), '{}')
  t.regex(
    (await of('evaluate', '-m', model, '-a', other, '-d', rows)).errors,
    /no checkpoint yet: wait for it, or start it again/
  )
})

test('interrupted before the first step: it says that nothing was saved', async (t) => {
  // Rows enough for a second of reading.
  const many = join(place, 'many.jsonl')
  writeFileSync(many, readFileSync(rows, 'utf8').repeat(6000))
  const folder = join(place, 'never')
  const stopAfter = async (ms: number) => {
    const args = ['dist/lib/cli/main.js', 'train', '-m', model, '--train', many, '-o', folder]
    const started = startProcess(process.execPath, args)
    await new Promise((resolve) => setTimeout(resolve, ms))
    started.kill('SIGINT')
    return await started.ended
  }
  let outcome = await stopAfter(400)
  // A busy machine has not even started by then.
  for (let ms = 800; outcome.code === null && ms < 7000; ms *= 2) outcome = await stopAfter(ms)
  t.is(outcome.code, 130)
  t.regex(outcome.stderr, /interrupted before the first step; nothing was saved\n$/)
  t.false(existsSync(folder))
})

test('interrupted while a run that goes on is opened: what it has saved is there', async (t) => {
  const folder = join(place, 'goes-on')
  const first = ['-o', folder, '--max-steps', '2', '--save', 'steps', '--save-steps', '1', '--threads', '1']
  t.is((await command(['train', ...shared, ...first])).status, 0)
  const resume = ['dist/lib/cli/main.js', 'resume', folder, '--max-steps', '100000']
  let code: number | null = null
  let stderr = ''
  // A process that has not even started is ended by the signal itself.
  for (let ms = 100; code === null && ms < 7000; ms *= 1.3) {
    const started = startProcess(process.execPath, resume)
    await new Promise((resolve) => setTimeout(resolve, ms))
    started.kill('SIGINT')
    ;({ code, stderr } = await started.ended)
  }
  t.is(code, 130)
  t.notRegex(stderr, /nothing was saved/)
  t.regex(stderr, /go on with: torch-adapters resume|the same command goes on with it/)
})

test('what a setup names and no --adapter loads is said of the option, with the nearest', async (t) => {
  const folder = join(place, 'ner')
  t.is((await command(['train', ...shared, '-o', folder, '--max-steps', '1'])).status, 0)
  for (const [setup, adapters, message] of [
    [
      'Stack[ner, nar]',
      ['-a', folder],
      /--setup: Stack\[ner, nar\] names 'nar', and --adapter loads 'ner'\. Did you mean 'ner'\?/
    ],
    ['Stack[ner, xx]', [], /--setup: Stack\[ner, xx\] names 'ner', and there is no --adapter/],
    [
      'Fuse[ner, two]',
      ['-a', folder, '-a', `two=${folder}`],
      /--adapter: expected each adapter once|--setup: there is no fusion/
    ]
  ] as const) {
    const { status, errors } = await command(['predict', '-m', model, ...adapters, '--setup', setup, '-i', rows])
    t.is(status, 2, errors)
    t.regex(errors, message)
    t.notRegex(errors, /setActiveAdapters/)
  }
})

test('without --overwrite no run takes the folder of another kind of run', async (t) => {
  const [ofTasks, single, fused] = ['of-tasks', 'single', 'fused'].map((name) => join(place, name)) as [
    string,
    string,
    string
  ]
  const file = join(place, 'two.json')
  writeFileSync(file, JSON.stringify({ a: { train: rows }, b: { train: rows } }))
  const short = ['--max-steps', '1', '--save', 'no']
  const tasks = ['train', '-m', model, '--tasks', file, ...short]
  const train = ['train', ...shared, ...short]
  const fuse = ['fuse', ...shared, ...short, '-a', join(ofTasks, 'a'), '-a', join(ofTasks, 'b')]
  const sweep = ['sweep', ...shared, ...short, '--vary', 'learningRate=1e-2,1e-3']
  for (const args of [
    [...tasks, '-o', ofTasks],
    [...train, '-o', single],
    [...fuse, '-o', fused, '--name', 'f']
  ]) {
    const { status, errors } = await command(args)
    t.is(status, 0, errors)
  }
  const left = (folder: string, what: string) =>
    new RegExp(
      `--output: expected a new folder, got ${folder}, which holds ${what}; --overwrite replaces what is there`
    )
  const cases: [string[], string, RegExp][] = [
    [train, ofTasks, left(ofTasks, "'a', 'b' of an earlier run of tasks")],
    [[...train, '--tune', 'head'], ofTasks, left(ofTasks, "'a', 'b' of an earlier run of tasks")],
    [sweep, ofTasks, left(ofTasks, "'a', 'b' of an earlier run of tasks")],
    [[...fuse, '--name', 'f'], ofTasks, left(ofTasks, "'a', 'b' of an earlier run of tasks")],
    [train, fused, left(fused, "'f', 'a', 'b' of an earlier run of a fusion")],
    [tasks, fused, left(fused, "'f', 'a', 'b' of an earlier run of a fusion")],
    [tasks, single, left(single, 'an adapter')],
    [fuse, single, left(single, 'an adapter')]
  ]
  for (const [args, folder, message] of cases) {
    const before = readdirSync(folder)
    const { status, errors } = await command([...args, '-o', folder])
    t.is(status, 2, errors)
    t.regex(errors, message)
    t.deepEqual(readdirSync(folder), before)
  }
  // What lies beside a run's own folders is nobody's result, and a run that left none keeps nothing back.
  for (const name of ['a', 'b']) rmSync(join(ofTasks, name), { recursive: true })
  const { status, errors } = await command([...train, '-o', ofTasks])
  t.is(status, 0, errors)
})

test('--overwrite leaves nothing of another kind of run, and what the new one stands on', async (t) => {
  const folder = join(place, 'kinds')
  const run = async (...args: string[]) => {
    const { status, errors } = await command([...args, '-o', folder, '--max-steps', '2', '--overwrite'])
    t.is(status, 0, errors)
    return readdirSync(folder).sort()
  }
  const tasksFile = join(place, 'kinds.json')
  const own = ['checkpoints', 'events.jsonl', 'report.html', 'train.json']
  const plain = ['adapter.safetensors', 'adapter_config.json', 'head_config.json', 'model_head.safetensors']
  const first = await run('train', ...shared, '--tensorboard')
  t.is(first.filter((name) => name.startsWith('events.out.tfevents')).length, 1)
  t.deepEqual(await run('train', ...shared), [...own, ...plain].sort())
  t.deepEqual(await run('train', ...shared, '--report-to', 'none'), [...plain, 'checkpoints', 'train.json'].sort())
  const tasks = (...names: string[]) => {
    writeFileSync(tasksFile, JSON.stringify(Object.fromEntries(names.map((name) => [name, { train: rows }]))))
    return run('train', '-m', model, '--tasks', tasksFile, '--sampler', 'round_robin')
  }
  t.deepEqual(await tasks('a', 'b'), [...own, 'a', 'b'].sort())
  writeFileSync(join(folder, 'a', 'notes.txt'), 'mine')
  t.deepEqual(await tasks('b', 'c'), [...own, 'a', 'b', 'c'].sort())
  t.deepEqual(readdirSync(join(folder, 'a')), ['notes.txt'])
  rmSync(join(folder, 'a'), { recursive: true })
  // It stands on the tasks, one of them under another name.
  const over = ['-a', join(folder, 'b'), '-a', `d=${join(folder, 'c')}`]
  t.deepEqual(
    await run('fuse', ...shared, ...over, '--name', 'f'),
    [...own, 'adapter_setup.json', 'b', 'c', 'd', 'f'].sort()
  )
  const again = ['-a', join(folder, 'b'), '-a', join(folder, 'd')]
  t.deepEqual(
    await run('fuse', ...shared, ...again, '--name', 'g'),
    [...own, 'adapter_setup.json', 'b', 'c', 'd', 'g'].sort()
  )
  t.deepEqual(await run('train', ...shared), [...own, ...plain, 'c'].sort())
})
