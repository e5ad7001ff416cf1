import { parentPort } from 'node:worker_threads'
import { readyModel, trainerOf } from './support.js'

// Trains until it is terminated: the end comes at any point of a step.
const model = await readyModel()
for await (const event of trainerOf(model, { maxSteps: 1_000_000, gradientAccumulationSteps: 4 }).run()) {
  if (event.type === 'step' && event.step === 1) parentPort?.postMessage('stepped')
}
