// Runs that meet a full or a read-only disk: `node disk-child.js KIND TRAINER FOLDER`, the folder a small file system.
import { execFileSync } from 'node:child_process'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  AdapterError,
  AdapterTrainer,
  type Model,
  MultiTaskTrainer,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import { quiet } from '../model/support.js'
import { digest, readyModel, rows } from './support.js'

type OnSave = (step: number) => void

/** Each trainer with its model; the digest is that of a run that nothing stopped. */
const trainers: Readonly<Record<string, (model: Model, args: TrainingArguments, onSave: OnSave) => Promise<void>>> = {
  train: async (model, args, onSave) => {
    const run = new AdapterTrainer({ model, trainDataset: rows, args }).run()
    for await (const event of run) if (event.type === 'save') onSave(event.step)
  },
  tasks: async (model, args, onSave) => {
    const tasks = { a: { dataset: rows }, b: { dataset: rows.slice(30) } }
    for await (const event of new MultiTaskTrainer({ model, tasks, args }).run()) {
      if (event.type === 'save') onSave(event.step)
    }
  },
  sweep: async (model, args, onSave) => {
    const onEvent = ({ type, step }: { type: string; step: number }) => {
      if (type === 'save') onSave(step)
    }
    await trainSweep(model, rows, { learningRate: [1e-2, 1e-3] }, { args, keep: 'all', onEvent })
  }
}

async function modelFor(trainer: string): Promise<Model> {
  const model = await readyModel()
  if (trainer !== 'tasks') return model
  model.addAdapter('b', 'lora[r=4]')
  model.addClassificationHead('b')
  return model
}

const base: TrainingArguments = { ...quiet, maxSteps: 12, saveStrategy: 'steps', saveSteps: 1 }

const [, , kind = '', trainer = '', folder = ''] = process.argv
const outputDir = join(folder, 'run')
const train = trainers[trainer] as (typeof trainers)[string]
const model = await modelFor(trainer)
const remount = (how: 'ro' | 'rw') => execFileSync('mount', ['-o', `remount,${how}`, folder])

async function failure(work: Promise<unknown>): Promise<void> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason
  )
  if (!(error instanceof AdapterError)) throw error ?? new Error('it did not fail')
  console.log(`error ${JSON.stringify({ code: error.code, message: error.message })}`)
  // Not held, not disposed: it answers.
  await model.predict([{ inputIds: [5, 6, 7] }])
}

const left = () => readdirSync(outputDir).sort()

/** Another model goes on from the newest checkpoint. */
async function resumed(args: TrainingArguments): Promise<void> {
  const again = await modelFor(trainer)
  await train(again, { ...args, saveStrategy: 'no', resumeFromCheckpoint: true }, () => {})
  console.log(`digest ${digest(again)}`)
}

if (kind === 'whole') {
  await train(model, { ...base, saveStrategy: 'no', outputDir }, () => {})
  console.log(`digest ${digest(model)}`)
} else if (kind === 'full') {
  await failure(train(model, { ...base, outputDir }, () => {}))
  console.log(`left ${JSON.stringify(left())}`)
  await resumed({ ...base, outputDir })
} else if (kind === 'full-events') {
  writeFileSync(join(folder, 'filler'), Buffer.alloc(200 * 1024))
  await failure(train(model, { ...base, saveStrategy: 'no', reportTo: 'jsonl', outputDir }, () => {}))
  rmSync(join(folder, 'filler'))
  await train(model, { ...base, saveStrategy: 'no', reportTo: 'jsonl', outputDir }, () => {})
  console.log(`left ${JSON.stringify(left())}`)
} else if (kind === 'read-only') {
  remount('ro')
  await failure(train(model, { ...base, outputDir }, () => {}))
  remount('rw')
  await failure(
    train(model, { ...base, outputDir }, (step) => {
      if (step === 3) remount('ro')
    })
  )
  remount('rw')
  console.log(`left ${JSON.stringify(left())}`)
  await resumed({ ...base, outputDir })
}
