import * as check from './check.js'

const common = {
  lrSchedulerType: 'linear',
  warmupRatio: 0.1,
  weightDecay: 0.01,
  maxGradNorm: 1
} as const

/** Where to begin with each kind of training; give the trainer one of them and change what the data asks for. */
const recipes = Object.freeze({
  /** Learning rates of 1e-3 to 1e-4, above full fine-tuning's; 5 to 10 epochs; large batches. */
  adapter: Object.freeze({ ...common, learningRate: 1e-3, numTrainEpochs: 5, perDeviceTrainBatchSize: 32 }),
  /** The careful end of the same range, for little or noisy data. */
  careful: Object.freeze({ ...common, learningRate: 1e-4, numTrainEpochs: 10, perDeviceTrainBatchSize: 16 }),
  /** AdapterFusion (Pfeiffer et al. 2021): the paper's learning rate. */
  fusion: Object.freeze({ ...common, learningRate: 5e-5, numTrainEpochs: 10, perDeviceTrainBatchSize: 32 }),
  /** Full fine-tuning, the baseline. */
  full: Object.freeze({ ...common, learningRate: 5e-5, numTrainEpochs: 3, perDeviceTrainBatchSize: 32 })
})

export type TrainingStrategy = keyof typeof recipes
export const trainingStrategies = Object.keys(recipes) as readonly TrainingStrategy[]

/**
 * What has proved itself, as arguments that the trainer takes:
 * `new AdapterTrainer({ model, trainDataset, args: { ...adapterTrainingStrategy(), outputDir: 'out' } })`, which is
 * `args: { recipe: 'adapter', outputDir: 'out' }`.
 * @param strategy 'adapter' (the default), 'careful', 'fusion' or 'full'
 */
export function adapterTrainingStrategy<S extends TrainingStrategy = 'adapter'>(
  strategy: S = 'adapter' as S
): (typeof recipes)[S] {
  return recipes[check.checkOneOf('strategy', strategy, trainingStrategies as readonly S[])]
}
