import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterError,
  AdapterTrainer,
  type Model,
  MultiTaskTrainer,
  type TrainingArguments,
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

const saving = (outputDir: string): TrainingArguments => ({
  ...{ ...quiet, outputDir, maxSteps: 3, saveStrategy: 'steps', saveSteps: 1 }
})

const trainerOf = (model: Model, args: TrainingArguments) => new AdapterTrainer({ model, trainDataset: rows, args })

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

test.serial('a run that goes on touches its lock', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  const outputDir = join(scratch(t), 'run')
  const run = trainerOf(await ready(t), saving(outputDir)).run()
  await run.next()
  const lock = join(outputDir, lockFile)
  const old = statSync(lock).mtimeMs
  await sleep(20)
  mock.timers.tick(20_000)
  mock.timers.reset()
  t.true(statSync(lock).mtimeMs > old)
  await run.return()
  t.false(existsSync(lock))
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
  const inside = join(outputDir, 'checkpoints', lockFile)
  mkdirSync(join(outputDir, 'checkpoints'))
  writeFileSync(inside, JSON.stringify({ pid: 7, host: 'another-machine' }))
  const both = new RegExp(`of process 7 on another-machine.* 3 minutes after .* remove ${lock} and ${inside}\\.$`)
  await t.throwsAsync(train(), busy(both))
  rmSync(join(outputDir, 'checkpoints'), { recursive: true })
  // Without a sign of life for longer than that.
  const minutes = (count: number) => new Date(Date.now() - count * 60_000)
  utimesSync(lock, minutes(2), minutes(2))
  await t.throwsAsync(train(), busy(/of process 7/))
  utimesSync(lock, minutes(4), minutes(4))
  await t.notThrowsAsync(train())
  // Of a number that a process of before the machine began had, too.
  leave(process.ppid)
  utimesSync(lock, 1, 1)
  await t.notThrowsAsync(train())

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
