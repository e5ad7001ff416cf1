import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { AdapterTrainer, type Model, type TrainingArguments } from '../../lib/index.js'
import { EventsFile } from '../../lib/training/record/events-file.js'
import { RunHistory } from '../../lib/training/record/history.js'
import { lineText, parseLine, type RunLine, type StepsLine } from '../../lib/training/record/lines.js'
import { runPage } from '../../lib/training/record/run-page.js'
import { Thinner } from '../../lib/training/record/thinner.js'
import { quiet, ready, scratch, tinyRows } from '../model/support.js'
import { repository } from '../native/support.js'

const rows = tinyRows(20)

const recipe = (outputDir: string): TrainingArguments => ({
  ...{ ...quiet, outputDir, maxSteps: 9, perDeviceTrainBatchSize: 4, reportTo: 'html' },
  ...{
    loggingStrategy: 'steps',
    loggingSteps: 3,
    evalStrategy: 'steps',
    evalSteps: 4,
    saveStrategy: 'steps',
    saveSteps: 4
  },
  parameterGroups: [{ match: /heads/, learningRate: 1e-3 }]
})

const trainerOf = (model: Model, args: TrainingArguments) =>
  new AdapterTrainer({ model, trainDataset: rows, evalDataset: rows.slice(0, 6), args })

const linesIn = (folder: string): RunLine[] =>
  readFileSync(join(folder, 'events.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

const typesIn = (folder: string) => linesIn(folder).map(({ type }) => type)

test('the first line says how many steps there will be, also where an evaluation comes before them', async (t) => {
  const outputDir = scratch(t)
  await trainerOf(await ready(t), { ...recipe(outputDir), evalOnStart: true }).train()
  t.like(linesIn(outputDir)[0], { type: 'start', step: 0, totalSteps: 9 })
  t.like(linesIn(outputDir)[1], { type: 'evaluate', step: 0 })
  const again = { ...recipe(outputDir), evalOnStart: true, resumeFromCheckpoint: true }
  await trainerOf(await ready(t), again).train()
  t.like(
    linesIn(outputDir).findLast(({ type }) => type === 'start'),
    { step: 9, totalSteps: 9 }
  )
})

test('a run folder holds what happened, a line each, and the page of it', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const result = await trainerOf(model, recipe(outputDir)).train()
  const steps = (count: number) => Array<string>(count).fill('steps')
  const expected = [
    ...['start', ...steps(3), 'log', 'steps', 'evaluate', 'save', ...steps(2), 'log', ...steps(2), 'evaluate', 'save'],
    // Behind the last step there is a checkpoint, too.
    ...['steps', 'log', 'save', 'end']
  ]
  t.deepEqual(typesIn(outputDir), expected as RunLine['type'][])
  const lines = linesIn(outputDir)
  const [start] = lines
  if (start?.type !== 'start') return t.fail()
  t.is(start.totalSteps, 9)
  t.is(start.args['maxSteps'], 9)
  t.deepEqual(start.args['parameterGroups'], [{ match: '/heads/', learningRate: 1e-3 }])
  t.deepEqual(start.rows, { train: 20, evaluation: 6 })
  t.regex(start.versions['libtorch'] ?? '', /^2\./)
  const { adapters, baseParameters, trainableParameters } = model.adapterSummary()
  const part = (name: string) => start.parameters.find((one) => one.part === name)
  t.deepEqual(part('base model'), { part: 'base model', total: baseParameters, trained: 0 })
  t.is(part("adapter 'a'")?.trained, adapters[0]?.parameters)
  t.is(part('all')?.trained, trainableParameters)
  t.is(
    start.parameters.slice(0, -1).reduce((sum, { total }) => sum + total, 0),
    part('all')?.total ?? Number.NaN
  )
  const { time: _, type: __, ...end } = lines.at(-1) as Extract<RunLine, { type: 'end' }>
  t.deepEqual(end, result)
  const last = lines.findLast((line) => line.type === 'evaluate')
  t.is(last?.type === 'evaluate' ? last.loss : undefined, result.evaluation?.loss)
  const page = readFileSync(join(outputDir, 'report.html'), 'utf8')
  t.notRegex(page, /<script|<link|<img|@import|url\(|src=|href=/)
  for (const title of ['Loss', 'Evaluation accuracy', 'Learning rate', 'Gradient norm', 'Speed']) {
    t.true(page.includes(`<title>${title}</title>`), title)
  }
  t.regex(page, /<p>finished: step 9 of 9, epoch 1\.80, loss /)
  t.regex(page, /<td>adapter &#39;a&#39;<\/td>/)
})

test('a resumed run goes on in the same file: what came after its checkpoint no longer counts', async (t) => {
  const whole = scratch(t)
  await trainerOf(await ready(t), recipe(whole)).train()
  const folder = scratch(t)
  let seen = 0
  for await (const { type } of trainerOf(await ready(t), recipe(folder)).run()) {
    if (type === 'step' && ++seen === 7) break
  }
  t.is(typesIn(folder).at(-1), 'stopped')
  t.is(RunHistory.read(readFileSync(join(folder, 'events.jsonl'), 'utf8')).status, 'stopped')
  t.regex(readFileSync(join(folder, 'report.html'), 'utf8'), /<p>stopped: step 7 of 9/)
  // As if it had been killed while it wrote.
  appendFileSync(join(folder, 'events.jsonl'), '{"type":"steps","st')
  await trainerOf(await ready(t), { ...recipe(folder), resumeFromCheckpoint: true }).train()
  const read = (of: string) => RunHistory.read(readFileSync(join(of, 'events.jsonl'), 'utf8'))
  const curves = (of: string) => read(of).steps.map(({ time: _, ...line }) => line)
  t.deepEqual(curves(folder), curves(whole))
  t.deepEqual(
    read(folder).evaluations.map(({ step, loss }) => [step, loss]),
    read(whole).evaluations.map(({ step, loss }) => [step, loss])
  )
  t.is(read(folder).status, 'finished')
  // Each step stands there once, behind whole lines, and nothing else is left in the folder.
  t.deepEqual(
    linesIn(folder).map(({ type, step }) => `${type} ${step}`),
    [
      ...['start 0', 'steps 1', 'steps 2', 'steps 3', 'log 3', 'steps 4', 'evaluate 4', 'save 4', 'start 4', 'steps 5'],
      ...['steps 6', 'log 6', 'steps 7', 'steps 8', 'evaluate 8', 'save 8', 'steps 9', 'log 9', 'save 9'],
      'end 9'
    ]
  )
  t.deepEqual(readdirSync(folder).toSorted(), [
    'checkpoint-4',
    'checkpoint-8',
    'checkpoint-9',
    'events.jsonl',
    'report.html'
  ])
  t.is(typesIn(folder).filter((type) => type === 'start').length, 2)
  // A new run begins anew.
  await trainerOf(await ready(t), recipe(folder)).train()
  t.deepEqual(typesIn(folder), typesIn(whole))
})

test('cutting its file, a resumed run leaves a link one, and a file without later steps as it is', async (t) => {
  const [folder, other] = [scratch(t), scratch(t)]
  await trainerOf(await ready(t), recipe(folder)).train()
  const [link, file] = [join(folder, 'events.jsonl'), join(other, 'kept.jsonl')]
  renameSync(link, file)
  symlinkSync(file, link)
  const from = { ...recipe(folder), resumeFromCheckpoint: join(folder, 'checkpoint-8') }
  await trainerOf(await ready(t), from).train()
  t.true(lstatSync(link).isSymbolicLink())
  t.deepEqual(readdirSync(other), ['kept.jsonl'])
  t.is(typesIn(folder).filter((type) => type === 'end').length, 1)
  const { ino } = lstatSync(file)
  await trainerOf(await ready(t), { ...from, maxSteps: 10 }).train()
  t.not(lstatSync(file).ino, ino)
  const events = new EventsFile(folder, 10)
  t.is(events.history.status, 'finished')
  events.close()
  const same = lstatSync(file).ino
  new EventsFile(folder, 10).close()
  t.is(lstatSync(file).ino, same)
})

test('loggingDir is where it lies; nothing is written unless it is asked for', async (t) => {
  const [outputDir, loggingDir] = [scratch(t), join(scratch(t), 'logs', 'one')]
  const args = { ...quiet, outputDir, maxSteps: 2 }
  await trainerOf(await ready(t), args).train()
  t.false(existsSync(join(outputDir, 'events.jsonl')))
  await trainerOf(await ready(t), { ...args, loggingDir, reportTo: ['jsonl'] }).train()
  t.deepEqual(typesIn(loggingDir), ['start', 'steps', 'steps', 'end'])
  t.false(existsSync(join(loggingDir, 'report.html')))
  t.false(existsSync(join(outputDir, 'events.jsonl')))
})

test('a run that an error ends says so; one that never began leaves the file as it is', async (t) => {
  const folder = scratch(t)
  const args: TrainingArguments = {
    ...quiet,
    outputDir: folder,
    maxSteps: 5,
    learningRate: 1e30,
    reportTo: 'jsonl',
    maxGradNorm: 0
  }
  const error = await t.throwsAsync(trainerOf(await ready(t), args).train(), { code: 'ERR_NAN_LOSS' })
  const last = linesIn(folder).at(-1)
  t.is(last?.type === 'failed' ? last.message : undefined, error?.message)
  const before = readFileSync(join(folder, 'events.jsonl'))
  await t.throwsAsync(trainerOf(await ready(t), { ...args, resumeFromCheckpoint: true }).train(), {
    code: 'ERR_FILE_NOT_FOUND'
  })
  t.deepEqual(readFileSync(join(folder, 'events.jsonl')), before)
})

test('a folder that cannot be written is a named error', async (t: ExecutionContext) => {
  const file = join(scratch(t), 'file')
  writeFileSync(file, '')
  const args: TrainingArguments = { ...quiet, maxSteps: 2, loggingDir: file, reportTo: 'jsonl' }
  await t.throwsAsync(trainerOf(await ready(t), args).train(), { message: /^train: \S+file is no folder/ })
})

test('what a killed run left of a file that it was writing goes with the next one', async (t) => {
  const loggingDir = scratch(t)
  const owner = pathToFileURL(join(repository, 'dist/lib/native/owner.js')).href
  const code = `import { ownerTag } from '${owner}'; process.stdout.write(ownerTag)`
  const { stdout: tag } = spawnSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' })
  t.regex(tag, /^\d+-\w{8}$/)
  const left = join(loggingDir, `.report.html-${tag}`)
  writeFileSync(left, 'half')
  await trainerOf(await ready(t), { ...quiet, maxSteps: 1, loggingDir, reportTo: 'html' }).train()
  t.false(existsSync(left))
  t.true(existsSync(join(loggingDir, 'report.html')))
})

test('where a file of the run cannot be written, the error says which checkpoint is whole', async (t) => {
  const outputDir = scratch(t)
  const loggingDir = scratch(t)
  const args: TrainingArguments = {
    ...{ ...quiet, outputDir, loggingDir, maxSteps: 5, reportTo: ['html'] },
    ...{ saveStrategy: 'steps', saveSteps: 1 }
  }
  const page = join(loggingDir, 'report.html')
  const onSave = ({ step }: { readonly step: number }) => {
    if (step !== 2) return
    // No file takes the place of a folder.
    rmSync(page)
    mkdirSync(page)
  }
  const model = await ready(t)
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args, callbacks: [{ onSave }] })
  const error = await t.throwsAsync(trainer.train(), { code: 'ERR_FILE' })
  const whole = `${join(outputDir, 'checkpoint-2')} is whole: resumeFromCheckpoint: true goes on from there.`
  t.regex(error?.message ?? '', /^write the report: \S+report\.html cannot be written to: \w+\. Check the path; /)
  t.true(error?.message.endsWith(whole), error?.message)
  rmSync(page, { recursive: true })
  const resumed = new AdapterTrainer({ model, trainDataset: rows, args: { ...args, resumeFromCheckpoint: true } })
  t.is((await resumed.train()).steps, 3)
})

const common = { totalSteps: 50_000, epoch: 1, learningRate: 1, gradNorm: 1, tokens: 2, rows: 1 }

test('a long run has about a thousand points, each the mean of its steps', (t) => {
  const thinner = new Thinner()
  const lines: Omit<StepsLine, 'time'>[] = []
  for (let step = 1; step <= 50_000; step++) {
    const line = thinner.take({ type: 'step', ...common, step, loss: step })
    if (line !== undefined) lines.push(line)
  }
  t.is(lines.length, 1001)
  t.deepEqual([lines[1]?.step, lines[1]?.loss], [51, 26.5])
  t.deepEqual(thinner.flush(), [])
})

test('tasks keep their own points', (t) => {
  const thinner = new Thinner()
  const lines: Omit<StepsLine, 'time'>[] = []
  for (let step = 1; step <= 50_000; step++) {
    const line = thinner.take({ type: 'step', ...common, step, loss: step, task: step % 2 === 0 ? 'even' : 'odd' })
    if (line !== undefined) lines.push(line)
  }
  lines.push(...thinner.flush())
  t.true(lines.length > 490 && lines.length < 510, String(lines.length))
  t.is(
    lines.reduce((sum, { tokens }) => sum + tokens, 0),
    100_000
  )
  t.true(lines.every(({ step, task }) => (step % 2 === 0) === (task === 'even')))
  const even = lines.find(({ task }) => task === 'even')
  t.deepEqual([even?.step, even?.loss], [200, 101])
})

test('lines that are none are left out, and what lines say is text on the page', (t) => {
  const time = '2026-01-01T00:00:00.000Z'
  const evil = '</title><script>alert(1)</script>'
  const start: RunLine = {
    ...{ type: 'start', time, step: 0, totalSteps: 5, name: evil, args: { [evil]: evil }, model: { evil } },
    ...{
      parameters: [{ part: evil, total: 1, trained: 1 }],
      versions: { [evil]: evil },
      rows: { train: 1, evaluation: null }
    },
    process: { pid: process.pid, host: evil }
  }
  const step: RunLine = { type: 'steps', time, ...common, step: 1, loss: Number.NaN, task: evil }
  const evaluation: RunLine = {
    type: 'evaluate',
    time,
    step: 1,
    epoch: 1,
    loss: 1,
    metrics: { [evil]: 1 },
    rows: 1,
    seconds: 1
  }
  const history = RunHistory.read([start, step, evaluation].map(lineText).join(''))
  t.is(history.step, 1)
  t.true(Number.isNaN(history.steps[0]?.loss))
  // Of another machine only its lock tells.
  t.is(history.status, 'lost')
  history.livesElsewhere = true
  t.is(history.status, 'running')
  t.notRegex(runPage(history), /<script/)
  const bad = [
    ...[
      '',
      '{',
      'null',
      '[]',
      '"start"',
      '{"type":"constructor","time":"x","step":1}',
      '{"type":"steps","time":"x","step":1,"loss":"1"}'
    ],
    ...['{"type":"steps","time":1,"step":1}', '{"type":"evaluate","time":"x","step":1,"metrics":{"a":"<b>"}}'],
    '{"type":"start","time":"x","step":0,"name":"a","args":{},"model":{},"versions":{},"rows":{},"process":{"pid":"1"},"parameters":[]}'
  ]
  for (const text of bad) t.is(parseLine(text), undefined, text)
})
