import { readFileSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { types } from 'node:util'
import test from 'ava'
import { trainingArguments } from '../../lib/config/training-arguments.js'
import { AdapterTrainer, AutoModel } from '../../lib/index.js'
import { loadAddon } from '../../lib/native/addon.js'
import { nativeMember } from '../../lib/training/native-trainer.js'
import { quiet, tinyConfig, tinyRows } from '../model/support.js'

const period = 20

/** Milliseconds that this thread has stood ready and not been given a processor; 0 where the system does not tell. */
function waitedForProcessor(): number {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}

/**
 * How late a timer of 20 ms came in each step of a run, in milliseconds: by `place`, which counts steps. A tick counts in
 * the steps at both of its ends. What the system kept the thread waiting is not the run's fault.
 */
async function slips(steps: number, run: (place: () => void) => Promise<unknown>): Promise<number[]> {
  const slipped = Array.from({ length: steps + 1 }, () => 0)
  let step = 0
  await setImmediate()
  let last = { step, time: performance.now(), waited: waitedForProcessor() }
  const tick = () => {
    const now = { step, time: performance.now(), waited: waitedForProcessor() }
    const slip = now.time - last.time - period - (now.waited - last.waited)
    for (let at = last.step; at <= step; at++) slipped[at] = Math.max(slipped[at] as number, slip)
    last = now
  }
  const timer = setInterval(tick, period)
  await run(() => step++)
  clearInterval(timer)
  tick()
  return slipped
}

test.serial('a timer of 20 ms never slips by more than 20 ms while a model trains', async (t) => {
  t.timeout(300_000)
  // Large enough that a step on JavaScript's thread could not pass unseen.
  const large = {
    hidden_size: 256,
    num_attention_heads: 4,
    intermediate_size: 1024,
    num_hidden_layers: 4,
    vocab_size: 2000
  }
  using model = await AutoModel.fromConfig({ ...tinyConfig, ...large }, { seed: 1 })
  model.addAdapter('a')
  model.addClassificationHead('a')
  model.trainAdapter('a')
  const rows = tinyRows(128, { from: 12, to: 24 })
  const steps = 8
  const args = { ...quiet, perDeviceTrainBatchSize: 32, gradientAccumulationSteps: 2, maxSteps: steps }
  const train = (onStepEnd: () => void) =>
    new AdapterTrainer({ model, trainDataset: rows, args, callbacks: [{ onStepEnd }] }).train()

  // A machine that has much to do stops any thread at any moment; work on this thread stops it in the same step of every
  // run. So each step must be on time in one run of several.
  const best = Array.from({ length: steps + 1 }, () => Number.POSITIVE_INFINITY)
  const late = () => best.filter((slip) => slip > period).length
  let runs = 0
  do {
    const slipped = await slips(steps, train)
    for (const [i, slip] of slipped.entries()) best[i] = Math.min(best[i] as number, slip)
    runs++
  } while (late() > 0 && runs < 20)
  t.log(`runs: ${runs}; latest timer by step, in ms: ${best.map((slip) => slip.toFixed(1)).join(', ')}`)
  t.is(late(), 0)
})

test('a trainer, whose state of a whole model is much memory, is made on the thread that trains', async (t) => {
  using model = await AutoModel.fromConfig(tinyConfig, { seed: 1 })
  model.addClassificationHead('a')
  model.trainAll()
  const args = trainingArguments(quiet)
  const member = nativeMember(model, args, { totalSteps: 1, warmupSteps: 0 })
  const made = loadAddon().createTrainer(model.native, { members: [member], seed: 1, classWeights: [] })
  t.true(types.isPromise(made))
  const trainer = await made
  trainer.dispose()
})
