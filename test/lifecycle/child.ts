import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { saveFolder } from '../../lib/exchange/write-folder.js'
import {
  AdapterConfig,
  AdapterTrainer,
  AutoModel,
  MultiTaskTrainer,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import { writeCheckpoint } from '../../lib/training/checkpoint-folder.js'
import { quiet, tiny } from '../model/support.js'
import { digest, readyModel, rows, slowModel, trainerOf, write } from './support.js'

declare const gc: () => void

/** Starts a step that lasts, and comes back while libtorch is at it. */
async function inTheMiddleOfAStep(signal?: AbortSignal): Promise<{ readonly ending: Promise<unknown> }> {
  const model = await slowModel()
  const run = trainerOf(model, { maxSteps: 50, perDeviceTrainBatchSize: 64 }).run({ signal })
  await run.next()
  const ending = (async () => {
    for (;;) if ((await run.next()).done === true) return
  })()
  await wait(15)
  console.log('in a step')
  // In an object: a bare promise would be waited for.
  return { ending }
}

const worker = new URL('worker.js', import.meta.url)

/** A worker thread that trains (or writes) without end, once it has done its first step. */
async function trainingWorker(what: 'train' | 'write' = 'train'): Promise<Worker> {
  const thread = new Worker(worker, { workerData: what })
  await new Promise((resolve, reject) => {
    thread.once('message', resolve)
    thread.once('error', reject)
  })
  return thread
}

/** Checkpoints often, and on from the last where there is one. */
function kept(outputDir: string): TrainingArguments {
  const started = existsSync(outputDir) && readdirSync(outputDir).some((name) => name.startsWith('checkpoint-'))
  return {
    ...{ outputDir, perDeviceTrainBatchSize: 8, gradientAccumulationSteps: 2 },
    ...{ saveStrategy: 'steps', saveSteps: 2, saveTotalLimit: 2, resumeFromCheckpoint: started }
  }
}

async function follow(run: AsyncIterable<{ readonly type: string; readonly step: number }>): Promise<void> {
  let first = true
  for await (const event of run) {
    if (first) console.log(`begins with step ${event.step}`)
    first = false
  }
}

/** Begins anew to count the most that was resident, where the system (Linux) can; elsewhere it is what is there at the end. */
function peakFromNow(): () => number {
  if (process.platform !== 'linux') return () => process.memoryUsage.rss()
  writeFileSync('/proc/self/clear_refs', '5')
  return () => 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
}

const tasks: Readonly<Record<string, (...args: string[]) => Promise<unknown>>> = {
  exit: async () => {
    await inTheMiddleOfAStep()
    process.exit(7)
  },

  'exit-writing': async () => {
    let tokens = 0
    await write(() => {
      if (++tokens === 5) process.exit(7)
    })
  },

  throw: async () => {
    await inTheMiddleOfAStep()
    setImmediate(() => {
      throw new Error('nobody catches this')
    })
  },

  reject: async () => {
    await inTheMiddleOfAStep()
    void Promise.reject(new Error('nobody waits for this'))
  },

  abort: async () => {
    const controller = new AbortController()
    const { ending } = await inTheMiddleOfAStep(controller.signal)
    controller.abort(new Error('aborted as asked'))
    await ending.catch((error: Error) => console.log(error.message))
  },

  /** The promise of a step keeps the process alive until it is settled; an idle engine does not. */
  finish: async () => {
    const model = await readyModel()
    void trainerOf(model, { maxSteps: 5 })
      .train()
      .then(({ step }) => console.log(`step ${step}`))
  },

  /** Handles that nobody disposed of, collected while work of theirs is queued. */
  collect: async () => {
    for (let i = 0; i < 30; i++) {
      const model = await readyModel()
      void model.forward({ inputIds: [[5, 6, 7]] })
      gc()
    }
    await wait(50)
    gc()
    console.log('collected')
  },

  workers: async (count = '10') => {
    for (let i = 0; i < Number(count); i++) {
      const thread = await trainingWorker(i % 2 === 0 ? 'train' : 'write')
      await wait((i * 7) % 25)
      await thread.terminate()
    }
    const model = await readyModel()
    await trainerOf(model, { maxSteps: 2 }).train()
    console.log('all workers are gone')
  },

  /** Several at once, beside a model of the main thread; the process ends while they train. */
  'exit-with-workers': async (ending = 'exit') => {
    const model = await readyModel()
    const threads = await Promise.all([trainingWorker(), trainingWorker(), trainingWorker()])
    await trainerOf(model, { maxSteps: 3 }).train()
    console.log('training in all threads')
    if (ending === 'terminate') void threads[0]?.terminate()
    process.exit(5)
  },

  /** The main thread takes its time to exit: the workers must not hear of it. */
  'exit-slowly-with-workers': async () => {
    const model = await readyModel()
    await Promise.all([trainingWorker(), trainingWorker()])
    await trainerOf(model, { maxSteps: 1 }).train()
    process.on('exit', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500))
    process.exit(5)
  },

  /** What an 'exit' listener may do: dispose. What it may not: start work. */
  'exit-listener': async () => {
    const model = await slowModel()
    const run = trainerOf(model, { maxSteps: 50, perDeviceTrainBatchSize: 64 }).run()
    await run.next()
    void run.next()
    process.on('exit', () => {
      try {
        model.parameter('bert.pooler.dense.bias')
      } catch (error) {
        console.log((error as Error).message)
      }
      model.dispose()
      model.dispose()
      console.log('disposed')
    })
    process.exit(6)
  },

  /** Training with checkpoints, resumed where there is one; tells the parameters' digest at its end. */
  train: async (outputDir = '', maxSteps = '60') => {
    const model = await readyModel()
    await follow(trainerOf(model, { ...kept(outputDir), maxSteps: Number(maxSteps) }).run())
    await model.saveAdapter(join(outputDir, 'adapter'), 'a')
    console.log(`digest ${digest(model)}`)
  },

  /** The same of two tasks that are drawn at random. */
  tasks: async (outputDir = '') => {
    const model = await readyModel()
    model.addAdapter('b', 'lora[r=4, dropout=0.1]')
    model.addClassificationHead('b')
    const tasks = {
      a: { dataset: rows, args: { loadBestModelAtEnd: true }, evalDataset: rows },
      b: { dataset: rows.slice(40) }
    }
    const args = { ...quiet, ...kept(outputDir), maxSteps: 40, evalStrategy: 'steps', evalSteps: 3 } as const
    await follow(new MultiTaskTrainer({ model, tasks, args, sampler: 'sqrt' }).run())
    console.log(`digest ${digest(model)}`)
  },

  /** The same of a sweep. */
  sweep: async (outputDir = '') => {
    const model = await readyModel()
    let first = true
    await trainSweep(
      model,
      rows,
      { reductionFactor: [2, 8], learningRate: [1e-2, 1e-3] },
      {
        args: { ...quiet, ...kept(outputDir), maxSteps: 30 },
        keep: 'all',
        onEvent: () => {
          if (first) console.log('begins')
          first = false
        }
      }
    )
    console.log(`digest ${digest(model)}`)
  },

  /** The same over rows that come as a stream. */
  stream: async (outputDir = '') => {
    const model = await readyModel()
    async function* endless() {
      for (;;) yield* rows
    }
    const args = { ...quiet, ...kept(outputDir), maxSteps: 60, shuffleBufferSize: 20 }
    await follow(new AdapterTrainer({ model, trainDataset: endless, args }).run())
    console.log(`digest ${digest(model)}`)
  },

  /** Stands in the middle of writing a checkpoint, and of saving an adapter, until it is killed. */
  'hold-checkpoint': async (outputDir = '') => {
    const forever = new Promise<void>(() => setInterval(() => {}, 1000))
    const model = await readyModel()
    const half = async (file: string) => {
      writeFileSync(file, 'half')
      console.log('half written')
      await forever
    }
    await Promise.all([
      writeCheckpoint(outputDir, 1000, (folder) => half(join(folder, 'training.safetensors'))),
      saveFolder(join(outputDir, 'adapter'), {
        model: model.config,
        format: 'safetensors',
        adapter: { name: 'a', config: AdapterConfig.load('seq_bn'), writeWeights: half }
      })
    ])
  },

  /** Resident memory after a warm-up and at the end, in bytes. */
  memory: async (steps = '300') => {
    const model = await readyModel()
    const measured: number[] = []
    const total = Number(steps)
    const run = trainerOf(model, { maxSteps: total, perDeviceTrainBatchSize: 8 }).run()
    for await (const event of run) {
      if (event.type !== 'step') continue
      if (event.step % 10 === 0) await model.predict([{ inputIds: [5, 6, event.step % 90] }])
      if (event.step % 20 !== 0) continue
      gc()
      measured.push(process.memoryUsage.rss())
    }
    console.log(`memory ${JSON.stringify(measured)}`)
  },

  /**
   * What a model's folder adds to resident memory, loaded and read once, and what it added at most meanwhile, in bytes. The
   * library itself is there.
   */
  load: async (folder = '') => {
    const answer = async (from: string) => {
      const model = await AutoModel.fromPretrained(from)
      await model.forward({ inputIds: [Array.from({ length: 16 }, (_, i) => 5 + i)] })
      return model
    }
    ;(await answer(tiny)).dispose()
    gc()
    const before = process.memoryUsage.rss()
    const peak = peakFromNow()
    const model = await answer(folder)
    gc()
    console.log(`load ${JSON.stringify([process.memoryUsage.rss() - before, peak() - before])}`)
    model.dispose()
  }
}

const [, , task = '', ...args] = process.argv
await tasks[task]?.(...args)
