// Pretrains the quickstart's encoder with the project's own trainer: every weight learns, by masked-language modelling
// on the train split of WordNet.
//
//   node scripts/pretrain/pretrain.mjs [--tokens 150e6] [--out out/pretrain]
//
// A run can be stopped at any time (Ctrl-C) and goes on from its last checkpoint; its losses stand in curve.csv. At the
// end the encoder is written to models/wordnet-bert-mini/model.safetensors as fp16.
//
// The committed one: --threads 1 --tokens 90e6 up to step 24,142, from there --tokens 80e6, which ends the decay of the
// learning rate sooner; 99 minutes of one core beside other work (pretraining-curve.csv).
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { main, Problem } from '../lib/terminal.mjs'
import { readWordnet } from '../quickstart/wordnet.mjs'
import { devBatches, maskedBatches } from './masked-batches.mjs'
import { openTokenStore } from './token-store.mjs'

const repository = fileURLToPath(new URL('../../', import.meta.url))

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: join(repository, 'models', 'wordnet-bert-mini') },
    out: { type: 'string', default: join(repository, 'out', 'pretrain') },
    tokens: { type: 'string', default: '150e6' },
    'batch-tokens': { type: 'string', default: '2048' },
    'learning-rate': { type: 'string', default: '2e-3' },
    'mask-share': { type: 'string', default: '0.2' },
    'checkpoint-minutes': { type: 'string', default: '10' },
    'dev-steps': { type: 'string', default: '1000' },
    threads: { type: 'string' },
    seed: { type: 'string', default: '1' }
  }
})

/** @param {keyof typeof values} name */
function number(name) {
  const value = Number(values[name])
  if (!(value > 0)) throw new Problem(`--${name}: expected a number above 0, got ${values[name]}.`)
  return value
}

/** @typedef {import('../../dist/lib/native/types.js').NativeModel} NativeModel */
/** @typedef {import('./masked-batches.mjs').MaskedBatch} MaskedBatch */

const head = 'mlm'
const forwardOptions = { adapters: [], head }

/** @param {MaskedBatch} batch */
const nativeBatch = ({ ids, tokenTypes, rowLengths, labels }) => ({
  inputIds: ids,
  tokenTypeIds: tokenTypes,
  rowLengths,
  labels
})

/** The encoder with random weights and a masked-language-modelling head, all of it trainable. @param {number} seed */
async function createModel(seed) {
  const { AutoModel } = await import('../../dist/lib/index.js')
  const config = JSON.parse(readFileSync(join(values.model, 'config.json'), 'utf8'))
  const model = await AutoModel.fromConfig(config, { seed })
  model.addMaskedLmHead(head)
  model.trainAll()
  return model
}

/** Mean loss over the hidden tokens of dev. @param {NativeModel} model @param {MaskedBatch[]} batches */
async function devLoss(model, batches) {
  let sum = 0
  let count = 0
  for (const batch of batches) {
    const hidden = batch.labels.reduce((total, label) => total + (label === -100 ? 0 : 1), 0)
    const { loss = 0 } = await model.forward(nativeBatch(batch), forwardOptions)
    sum += loss * hidden
    count += hidden
  }
  return sum / count
}

async function pretrain() {
  let stopped = false
  process.once('SIGINT', () => {
    stopped = true
  })
  const { loadAddon } = await import('../../dist/lib/native/addon.js')
  const addon = loadAddon()
  if (values.threads) addon.setNumThreads(number('threads'))
  const model = await createModel(number('seed'))
  const masking = {
    batchTokens: number('batch-tokens'),
    maskShare: number('mask-share'),
    seed: number('seed'),
    vocabularySize: model.config.vocabSize,
    nameAtCls: true
  }
  const totalSteps = Math.ceil(number('tokens') / masking.batchTokens)
  const trainer = addon.createTrainer(model.native, {
    learningRate: number('learning-rate'),
    betas: [0.9, 0.98],
    epsilon: 1e-8,
    weightDecay: 0.01,
    maxGradNorm: 1,
    schedule: 'linear',
    warmupSteps: Math.ceil(0.04 * totalSteps),
    totalSteps,
    labelSmoothing: 0,
    seed: number('seed')
  })

  mkdirSync(values.out, { recursive: true })
  const checkpoint = join(values.out, 'checkpoint.safetensors')
  const curve = join(values.out, 'curve.csv')
  let state = { epoch: 0, index: 0, tokens: 0, seconds: 0 }
  if (existsSync(checkpoint)) state = JSON.parse(await trainer.loadCheckpoint(checkpoint))
  else writeFileSync(curve, 'step,epoch,tokens,seconds,learning_rate,train_loss,dev_loss\n')

  const store = openTokenStore({ modelFolder: values.model, cacheFolder: values.out, synsets: () => readWordnet() })
  const dev = devBatches(store, masking)
  const batches = maskedBatches(store, masking, state)
  const save = () => trainer.saveCheckpoint(checkpoint, JSON.stringify(state))
  const startedAt = performance.now() - 1000 * state.seconds
  let savedAt = performance.now()
  let losses = { sum: 0, steps: 0 }
  let batch = batches.next().value
  while (trainer.stepCount < totalSteps && !stopped) {
    const step = trainer.step([nativeBatch(batch)], [forwardOptions])
    // The next batch is made while this one is worked on.
    const next = batches.next().value
    const { loss, learningRate } = await step
    state = {
      epoch: next.epoch,
      index: next.index,
      tokens: state.tokens + batch.ids.length,
      seconds: (performance.now() - startedAt) / 1000
    }
    batch = next
    losses = { sum: losses.sum + loss, steps: losses.steps + 1 }
    if (trainer.stepCount % number('dev-steps') === 0 || trainer.stepCount === totalSteps) {
      const measured = [learningRate.toExponential(3), (losses.sum / losses.steps).toFixed(4)]
      const line = [trainer.stepCount, state.epoch, state.tokens, state.seconds.toFixed(0), ...measured]
      const text = [...line, (await devLoss(model.native, dev)).toFixed(4)].join(',')
      appendFileSync(curve, `${text}\n`)
      console.log(`step ${text} of ${totalSteps}, ${Math.round(state.tokens / state.seconds)} tokens/s`)
      losses = { sum: 0, steps: 0 }
    }
    if (performance.now() - savedAt > 60_000 * number('checkpoint-minutes')) {
      await save()
      savedAt = performance.now()
    }
  }
  await save()
  if (stopped) return console.log(`Stopped at step ${trainer.stepCount}; the same command goes on from here.`)
  const target = join(values.model, 'model.safetensors')
  await model.native.saveBase(target, 'float16')
  console.log(`Wrote ${target}`)
}

await main(pretrain)
