import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterError,
  AdapterTrainer,
  type Model,
  MultiTaskTrainer,
  type TrainingArgumentsInput,
  trainSweep
} from '../../lib/index.js'
import { lockFile } from '../../lib/training/run-lock.js'
import { load, quiet, scratch, tinyRows } from '../model/support.js'

const rows = tinyRows(12)

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  model.addAdapter('a')
  model.addClassificationHead('a')
  model.trainAdapter('a')
  return model
}

const saving = (outputDir: string): TrainingArgumentsInput => ({
  ...{ ...quiet, outputDir, maxSteps: 3, saveStrategy: 'steps', saveSteps: 1 }
})

const trainerOf = (model: Model, args: TrainingArgumentsInput) =>
  new AdapterTrainer({ model, trainDataset: rows, args })

const busy = (message: RegExp) => ({ instanceOf: AdapterError, code: 'ERR_BUSY', message })

test('a second run in a folder is refused by name, and the first one goes on as if nothing had been', async (t) => {
  const outputDir = join(scratch(t), 'run')
  const run = trainerOf(await ready(t), saving(outputDir)).run()
  await run.next()
  const other = await ready(t)
  const refused = busy(/^train: another run, of this process, writes into \S+run\. Give each run an outputDir/)
  await t.throwsAsync(trainerOf(other, saving(outputDir)).train(), refused)
  const tasks = { a: { dataset: rows } }
  await t.throwsAsync(new MultiTaskTrainer({ model: other, tasks, args: saving(outputDir) }).train(), refused)
  await t.throwsAsync(trainSweep(await ready(t), rows, { learningRate: [1e-3] }, { args: saving(outputDir) }), refused)
  // Where its events go is a run's own, too; one that writes nothing there may name the folder.
  const events = { ...quiet, maxSteps: 1, reportTo: 'jsonl', loggingDir: outputDir, outputDir: 'x' } as const
  await t.throwsAsync(trainerOf(other, events).train(), refused)
  await t.notThrowsAsync(trainerOf(other, { ...quiet, maxSteps: 1, outputDir }).train())
  for await (const _ of run);
  t.deepEqual(readdirSync(outputDir).sort(), ['checkpoint-1', 'checkpoint-2', 'checkpoint-3'])
  await t.notThrowsAsync(trainerOf(other, saving(outputDir)).train())
})

test('a run that is left, refused or fails lets its folder go', async (t) => {
  const outputDir = join(scratch(t), 'run')
  const model = await ready(t)
  for await (const _ of trainerOf(model, saving(outputDir)).run()) break
  t.false(existsSync(outputDir), 'nothing was written, and nothing is left')
  const gone = { ...saving(outputDir), resumeFromCheckpoint: true }
  await t.throwsAsync(trainerOf(model, gone).train(), { code: 'ERR_FILE_NOT_FOUND' })
  t.false(existsSync(outputDir))
  mkdirSync(outputDir)
  await trainerOf(model, saving(outputDir)).train()
  t.false(existsSync(join(outputDir, lockFile)))
})

test('the lock of a dead process is taken over, that of a living one is not', async (t) => {
  const outputDir = scratch(t)
  const model = await ready(t)
  const lock = join(outputDir, lockFile)
  const leave = (pid: number | undefined, host = hostname()) => writeFileSync(lock, JSON.stringify({ pid, host }))
  const train = () => trainerOf(model, saving(outputDir)).train()

  leave(process.ppid)
  await t.throwsAsync(train(), busy(new RegExp(`of process ${process.ppid} on .*remove \\S+\\.run\\.lock\\.$`)))
  leave(7, 'another-machine')
  await t.throwsAsync(train(), busy(/of process 7 on another-machine/))

  leave(spawnSync(process.execPath, ['--version']).pid)
  await t.notThrowsAsync(train())
  // Of this process's number, before this process began.
  leave(process.pid)
  utimesSync(lock, 1, 1)
  await t.notThrowsAsync(train())
  writeFileSync(lock, 'no owner')
  await t.notThrowsAsync(train())
  t.deepEqual(readdirSync(outputDir).sort(), ['checkpoint-1', 'checkpoint-2', 'checkpoint-3'])
})
