import { writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { readyModel, trainerOf, write } from './support.js'

// Trains, or writes, until it is terminated: the end comes at any point of a step, and never as an error.
try {
  if (workerData === 'write') await write(() => parentPort?.postMessage('stepped'))
  const model = await readyModel()
  for await (const event of trainerOf(model, { maxSteps: 1_000_000, gradientAccumulationSteps: 4 }).run()) {
    if (event.type === 'step' && event.step === 1) parentPort?.postMessage('stepped')
  }
} catch (error) {
  writeSync(2, `a worker saw ${error}\n`) // console.error would go through the main thread, which is ending
  throw error
}
