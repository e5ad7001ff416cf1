// `node memory-plan-child.js plan|train SHAPE`: a model of middling size, planned or trained in a process of its own.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import {
  AdapterTrainer,
  AutoModel,
  type Model,
  MultiTaskTrainer,
  planSweep,
  setNumThreads,
  TextTokenizer,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import { quiet, tinyConfig } from '../model/support.js'

export interface Shape {
  readonly hidden: number
  readonly layers: number
  readonly rows: number
  readonly tokens: number
  readonly threads: number
  readonly tune: 'adapter' | 'head' | 'full'
  /** An adapter's config. */
  readonly config?: string
  readonly dropout?: number
  readonly optim?: TrainingArguments['optim']
  /** Rows of every length up to `tokens`, as text has them. */
  readonly uneven?: boolean
  /** Rows of text, of as many words. */
  readonly isText?: boolean
  readonly steps?: number
  readonly accumulation?: number
  /** With frozenLayerCache, in the folder that the child is told. */
  readonly isCached?: boolean
  readonly cache?: string | undefined
  /** The training evaluates, too, in batches of so many rows, the answers of so many of which leave the core together. */
  readonly evaluates?: number
  readonly evalAccumulation?: number
  /** Several that train side by side: beside the first task one with an adapter of each of these configs, or a sweep over so many learning rates. */
  readonly tasks?: readonly string[]
  readonly sweep?: number
}

const wordnet = fileURLToPath(new URL('../../../models/wordnet-bert-mini', import.meta.url))

/** Each is one token. */
function wordsOf(folder: string): string[] {
  return readFileSync(`${folder}/vocab.txt`, 'utf8')
    .split('\n')
    .filter((word) => /^[a-z]{3,}$/.test(word))
}

/** In bytes: `VmRSS` is resident now, `VmHWM` was at most. */
function resident(which: 'VmRSS' | 'VmHWM'): number {
  const found = new RegExp(`^${which}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(found?.[1]) * 1024
}

interface Trainer {
  plan(): Promise<object>
  train(): Promise<object>
}

type Row = ({ readonly inputIds: number[] } | { readonly text: string }) & { readonly label: number }

interface Training {
  readonly trainDataset: readonly Row[]
  readonly evalDataset: Training['trainDataset'] | undefined
  readonly args: TrainingArguments
}

function trainerOf(model: Model, { tasks, sweep }: Pick<Shape, 'tasks' | 'sweep'>, training: Training): Trainer {
  const { trainDataset: dataset, evalDataset, args } = training
  if (tasks) {
    const half = dataset.filter((_, i) => i % 2 === 0)
    const others = tasks.map((config, i) => {
      const name = `b${i}`
      model.addAdapter(name, config)
      model.addClassificationHead(name)
      return [name, { dataset: half }] as const
    })
    return new MultiTaskTrainer({ model, tasks: { a: { dataset, evalDataset }, ...Object.fromEntries(others) }, args })
  }
  if (sweep !== undefined) {
    const grid = { learningRate: Array.from({ length: sweep }, (_, i) => 1e-3 / (i + 1)) }
    const all = [model, dataset, grid, { head: 'a', evalDataset, args }] as const
    return { plan: () => planSweep(...all), train: () => trainSweep(...all) }
  }
  return new AdapterTrainer({ model, ...training })
}

const [, , what = '', text = '{}'] = process.argv
if (what !== '') {
  const {
    hidden,
    layers,
    rows,
    tokens,
    threads,
    tune,
    config = 'seq_bn',
    dropout = 0,
    ...more
  } = JSON.parse(text) as Shape
  setNumThreads(threads)
  const tokenizer = more.isText ? TextTokenizer.fromFolder(wordnet) : undefined
  const fields = {
    ...tinyConfig,
    ...(tokenizer && { vocab_size: tokenizer.vocabSize }),
    ...{ hidden_size: hidden, num_attention_heads: hidden / 64, intermediate_size: 4 * hidden },
    ...{ num_hidden_layers: layers, max_position_embeddings: tokens },
    ...{ hidden_dropout_prob: dropout, attention_probs_dropout_prob: dropout }
  }
  const model = await AutoModel.fromConfig(fields, { tokenizer })
  if (tune === 'adapter') model.addAdapter('a', config)
  model.addClassificationHead('a')
  if (tune === 'adapter') model.trainAdapter('a')
  else if (tune === 'head') model.trainHead('a')
  else model.trainAll()
  const words = more.isText ? wordsOf(wordnet) : []
  const row = (length: number, i: number): Row => ({
    ...(more.isText
      ? {
          text: Array.from({ length: Math.max(1, length - 2) }, (_, k) => words[(71 * i + k) % words.length]).join(' ')
        }
      : { inputIds: Array.from({ length }, (_, k) => 5 + ((7 * i + k) % 80)) }),
    label: i % 2
  })
  // Half of them shorter: the largest batch is not the first.
  const evenRows = (count: number) =>
    Array.from({ length: 2 * count }, (_, i) => row(i < count ? tokens >> 1 : tokens, i))
  const unevenRows = (count: number) => Array.from({ length: 16 * count }, (_, i) => row(1 + ((i * 7919) % tokens), i))
  const datasetOf = more.uneven ? unevenRows : evenRows
  const { cache, evaluates = 0 } = more
  // Threads that share a batch need not be at their peaks together in each step.
  const evenSteps = threads > 1 ? 8 : 2
  const args: TrainingArguments = {
    ...{
      ...quiet,
      maxSteps: more.steps ?? (more.uneven ? 32 : evenSteps),
      perDeviceTrainBatchSize: rows,
      shuffle: more.uneven === true
    },
    ...(more.optim && { optim: more.optim }),
    gradientAccumulationSteps: more.accumulation ?? 1,
    ...(cache !== undefined && { frozenLayerCache: { folder: cache } }),
    ...(evaluates > 0 &&
      ({
        ...{ evalStrategy: 'steps', evalSteps: 1, perDeviceEvalBatchSize: evaluates },
        evalAccumulationSteps: more.evalAccumulation ?? null
      } as const))
  }
  const trainDataset = datasetOf(rows)
  const evalDataset = evaluates > 0 ? datasetOf(evaluates) : undefined
  const trainer = trainerOf(model, more, { trainDataset, evalDataset, args })
  // A model that has answered before. What the libraries themselves take when they are first used is not the run's.
  await model.predict([row(8, 0)])
  if (what === 'plan') {
    const plan = await trainer.plan()
    console.log(JSON.stringify(plan))
  } else {
    const before = resident('VmRSS')
    await trainer.train()
    console.log(JSON.stringify({ growth: resident('VmHWM') - before }))
  }
}
