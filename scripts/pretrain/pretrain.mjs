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
import { main } from '../lib/terminal.mjs'
import { readWordnet } from '../quickstart/wordnet.mjs'
import { devBatches, maskedBatches } from './masked-batches.mjs'
import { readOptions } from './options.mjs'
import { openTokenStore } from './token-store.mjs'

/** @typedef {import('../../dist/lib/native/types.js').NativeModel} NativeModel */
/** @typedef {import('./masked-batches.mjs').MaskedBatch} MaskedBatch */

const head = 'mlm'
const pass = { setups: [], head }

/** @param {MaskedBatch} batch */
const nativeBatch = ({ ids, tokenTypes, rowLengths, labels }) => ({
  inputIds: ids,
  tokenTypeIds: tokenTypes,
  rowLengths,
  labels
})

/** The encoder with random weights and a masked-language-modelling head, all of it trainable. @param {string} folder @param {number} seed */
async function createModel(folder, seed) {
  const { AutoModel } = await import('../../dist/lib/index.js')
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
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
    const { loss = 0 } = await model.forward(nativeBatch(batch), pass)
    sum += loss * hidden
    count += hidden
  }
  return sum / count
}

async function pretrain() {
  const options = readOptions(process.argv.slice(2))
  if (typeof options === 'string') return console.log(options)
  const { model: folder, out, seed } = options
  let stopped = false
  process.once('SIGINT', () => {
    stopped = true
  })
  const { loadAddon } = await import('../../dist/lib/native/addon.js')
  const addon = loadAddon()
  if (options.threads) addon.setNumThreads(options.threads)
  const model = await createModel(folder, seed)
  const masking = {
    batchTokens: options['batch-tokens'],
    maskShare: options['mask-share'],
    seed,
    vocabularySize: model.config.vocabSize,
    nameAtCls: true
  }
  const totalSteps = Math.ceil(options.tokens / masking.batchTokens)
  const { trainingArguments } = await import('../../dist/lib/config/training-arguments.js')
  const { nativeMember, nativeTrainer } = await import('../../dist/lib/training/native-trainer.js')
  const args = trainingArguments({
    outputDir: out,
    learningRate: options['learning-rate'],
    adamBeta2: 0.98,
    weightDecay: 0.01,
    lrSchedulerType: 'linear'
  })
  const plan = { totalSteps, warmupSteps: Math.ceil(0.04 * totalSteps) }
  const trainer = await nativeTrainer(model, [nativeMember(model, args, plan)], seed)

  mkdirSync(out, { recursive: true })
  const checkpoint = join(out, 'checkpoint.safetensors')
  const curve = join(out, 'curve.csv')
  let state = { step: 0, epoch: 0, index: 0, tokens: 0, seconds: 0 }
  if (existsSync(checkpoint)) state = JSON.parse(await trainer.loadCheckpoint(checkpoint))
  else writeFileSync(curve, 'step,epoch,tokens,seconds,learning_rate,train_loss,dev_loss\n')

  const store = openTokenStore({ modelFolder: folder, cacheFolder: out, synsets: () => readWordnet() })
  const dev = devBatches(store, masking)
  const batches = maskedBatches(store, masking, state)
  const save = () => trainer.saveCheckpoint(checkpoint, JSON.stringify(state))
  const startedAt = performance.now() - 1000 * state.seconds
  let savedAt = performance.now()
  let losses = { sum: 0, steps: 0 }
  let batch = batches.next().value
  while (state.step < totalSteps && !stopped) {
    const step = trainer.step([nativeBatch(batch)], [pass], [0], false)
    // The next batch is made while this one is worked on.
    const next = batches.next().value
    const { loss, learningRate } = (await step).members[0]
    state = {
      step: state.step + 1,
      epoch: next.epoch,
      index: next.index,
      tokens: state.tokens + batch.ids.length,
      seconds: (performance.now() - startedAt) / 1000
    }
    batch = next
    losses = { sum: losses.sum + loss, steps: losses.steps + 1 }
    if (state.step % options['dev-steps'] === 0 || state.step === totalSteps) {
      const measured = [learningRate.toExponential(3), (losses.sum / losses.steps).toFixed(4)]
      const line = [state.step, state.epoch, state.tokens, state.seconds.toFixed(0), ...measured]
      const text = [...line, (await devLoss(model.native, dev)).toFixed(4)].join(',')
      appendFileSync(curve, `${text}\n`)
      console.log(`step ${text} of ${totalSteps}, ${Math.round(state.tokens / state.seconds)} tokens/s`)
      losses = { sum: 0, steps: 0 }
    }
    if (performance.now() - savedAt > 60_000 * options['checkpoint-minutes']) {
      await save()
      savedAt = performance.now()
    }
  }
  await save()
  if (stopped) return console.log(`Stopped at step ${state.step}; the same command goes on from here.`)
  const target = join(folder, 'model.safetensors')
  await model.native.saveBase(target, 'float16', 'safetensors')
  console.log(`Wrote ${target}`)
}

await main(pretrain)
