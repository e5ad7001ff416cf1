import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { AdapterTrainer, AutoModel, type Model, type TrainingArguments } from '../../lib/index.js'
import { quiet, snapshot, tiny, tinyConfig, tinyRows } from '../model/support.js'
import { type Ended, type Process, startProcess } from '../support/process.js'

/** Long forms of these tests run with TA_STRESS=1. */
export const stress = process.env['TA_STRESS'] === '1'

export const rows = tinyRows(64)

/** The tiny model, an adapter and a head that train; with dropout, so that random numbers matter. */
export async function readyModel(): Promise<Model> {
  const model = await AutoModel.fromPretrained(tiny)
  model.addAdapter('a', 'double_seq_bn[reduction_factor=4, dropout=0.1]')
  model.addClassificationHead('a', { dropoutProb: 0.1 })
  model.trainAdapter('a')
  return model
}

/** A model whose single step takes long, in one pass: an end in the middle of it meets libtorch at work. */
export async function slowModel(): Promise<Model> {
  const large = { hidden_size: 384, num_attention_heads: 6, intermediate_size: 1536, num_hidden_layers: 4 }
  const model = await AutoModel.fromConfig({ ...tinyConfig, ...large })
  model.addAdapter('a')
  model.addClassificationHead('a')
  model.trainAdapter('a')
  return model
}

/** A causal model that writes without end, token by token. */
export async function write(onToken: () => void): Promise<never> {
  const sizes = { n_embd: 64, n_head: 4, n_layer: 2, n_positions: 80, vocab_size: 90 }
  const model = await AutoModel.fromConfig({ model_type: 'gpt2', ...sizes })
  const many = Array.from({ length: 8 }, (_, i) => ({ inputIds: [5 + i] }))
  for (;;) for await (const _ of model.generateStream(many, { maxNewTokens: 70, eosTokenId: null })) onToken()
}

export function trainerOf(model: Model, args: TrainingArguments, trainDataset = rows): AdapterTrainer {
  return new AdapterTrainer({ model, trainDataset, args: { ...quiet, ...args } })
}

/** One number for all parameters, to the bit. */
export function digest(model: Model): string {
  const hash = createHash('sha256')
  for (const [name, data] of snapshot(model)) hash.update(name).update(new Uint8Array(data.buffer))
  return hash.digest('hex')
}

export interface Child extends Process {
  /** Resolves with the first line of this text on stdout; undefined where the process ends without it. */
  line(start: string): Promise<string | undefined>
}

/** Runs child.js with a task in a process of its own, so that a crash is seen as the signal that it is. */
export function startChild(task: string, ...args: readonly string[]): Child {
  const script = fileURLToPath(new URL('child.js', import.meta.url))
  const watchers = new Set<() => void>()
  const child = startProcess(process.execPath, ['--expose-gc', script, task, ...args], {
    onText: () => {
      for (const watch of watchers) watch()
    }
  })
  const line = (start: string) => {
    const find = () =>
      child.texts.stdout
        .split('\n')
        .slice(0, -1)
        .find((text) => text.startsWith(start))
    return new Promise<string | undefined>((resolve) => {
      const watch = () => {
        const found = find()
        if (found === undefined) return
        watchers.delete(watch)
        resolve(found)
      }
      watchers.add(watch)
      watch()
      child.ended.then(() => resolve(find()))
    })
  }
  return { ...child, line }
}

const limit = stress ? 600_000 : 90_000

/** Runs a child to its end; one that hangs is killed and shows as SIGKILL. */
export async function runChild(task: string, ...args: readonly string[]): Promise<Ended> {
  const child = startChild(task, ...args)
  const timer = setTimeout(() => child.kill('SIGKILL'), limit)
  try {
    return await child.ended
  } finally {
    clearTimeout(timer)
  }
}
