import { plain } from './nearest.js'

/** What others call an argument that is here under another name. */
const otherNames: Readonly<Record<string, string>> = {
  ...{ evaluationStrategy: 'evalStrategy', lr: 'learningRate', epochs: 'numTrainEpochs', numEpochs: 'numTrainEpochs' },
  ...{ batchSize: 'perDeviceTrainBatchSize', trainBatchSize: 'perDeviceTrainBatchSize', bs: 'perDeviceTrainBatchSize' },
  ...{ perGpuTrainBatchSize: 'perDeviceTrainBatchSize', perGpuEvalBatchSize: 'perDeviceEvalBatchSize' },
  ...{ evalBatchSize: 'perDeviceEvalBatchSize', accumulationSteps: 'gradientAccumulationSteps' },
  ...{
    accumSteps: 'gradientAccumulationSteps',
    logEvery: 'loggingSteps',
    saveEvery: 'saveSteps',
    evalEvery: 'evalSteps'
  },
  ...{ gradAccumSteps: 'gradientAccumulationSteps', gradAccumulationSteps: 'gradientAccumulationSteps' },
  ...{ gradAccum: 'gradientAccumulationSteps', gradientAccumulation: 'gradientAccumulationSteps' },
  ...{ tokenBudget: 'maxTokensPerBatch', tokensPerBatch: 'maxTokensPerBatch', batchTokens: 'maxTokensPerBatch' },
  ...{ optimizer: 'optim', optimiser: 'optim', beta1: 'adamBeta1', beta2: 'adamBeta2' },
  ...{ epsilon: 'adamEpsilon', eps: 'adamEpsilon', scheduler: 'lrSchedulerType', lrScheduler: 'lrSchedulerType' },
  ...{ gradClip: 'maxGradNorm', gradientClip: 'maxGradNorm', gradientClipping: 'maxGradNorm' },
  ...{ clipGradNorm: 'maxGradNorm', labelSmoothing: 'labelSmoothingFactor' },
  ...{ patience: 'earlyStoppingPatience', earlyStopping: 'earlyStoppingPatience', dropLast: 'dataloaderDropLast' },
  ...{ bestMetric: 'metricForBestModel', maxTokens: 'maxTokensPerBatch', logDir: 'loggingDir' }
}

/** Why there is none of these of Hugging Face's TrainingArguments (4.57), and what to do: a clause for each. */
const reasons: readonly (readonly [names: readonly string[], reason: string])[] = [
  [
    [
      ...['bf16', 'fp16', 'fp16OptLevel', 'fp16Backend', 'halfPrecisionBackend', 'bf16FullEval', 'fp16FullEval'],
      ...['trunk', 'dtype', 'torchDtype']
    ],
    "what trains is float32; the frozen base model's matrices may be bfloat16: load it with trunk: 'bfloat16' or 'auto', on the command line --trunk bfloat16, in a config trunk"
  ],
  [['tf32'], 'float32 stays float32 on every device'],
  [['adafactor'], "write optim: 'adafactor'"],
  [['betas'], 'write adamBeta1 and adamBeta2'],
  [
    ['perDeviceBatchSize', 'perGpuBatchSize'],
    'write perDeviceTrainBatchSize, and for evaluations perDeviceEvalBatchSize'
  ],
  [['warmup'], 'write warmupRatio or warmupSteps, on the command line --warmup-ratio or --warmup-steps'],
  [
    ['overwriteOutputDir'],
    'a run goes on from what outputDir holds only with resumeFromCheckpoint; on the command line --overwrite replaces what an earlier run left'
  ],
  [['runName'], 'a run is called like its folder, outputDir or loggingDir'],
  [['doTrain', 'doEval', 'doPredict'], 'call train(), evaluate() or predict()'],
  [
    ['saveOnlyModel'],
    'a checkpoint always holds what a resumed run needs; the adapters in it load by themselves, and saveTotalLimit bounds how many checkpoints there are'
  ],
  [['saveSafetensors'], 'checkpoints are always safetensors'],
  [['ignoreDataSkip'], 'a resumed run always finds its place in the data, which costs next to nothing'],
  [['restoreCallbackStatesFromCheckpoint'], 'callbacks with saveState and loadState get theirs back in a resumed run'],
  [['fullDeterminism'], 'the same seed and thread count always give the same bits'],
  [
    ['noCuda', 'useCpu', 'useMpsDevice', 'device'],
    "the model has the device: AutoModel.fromPretrained(source, { device: 'cpu' }), on the command line --device"
  ],
  [
    ['gradientCheckpointing', 'gradientCheckpointingKwargs', 'gradientCheckpoint', 'gradCheckpointing'],
    'activations are kept; trainer.plan() (on the command line --plan) tells how much they take, and a smaller batch with gradientAccumulationSteps takes less'
  ],
  [
    ['autoFindBatchSize', 'skipMemoryMetrics'],
    'trainer.plan() (on the command line --plan) tells beforehand what a batch takes of memory'
  ],
  [['removeUnusedColumns'], 'fields of a row that nobody reads are left alone'],
  [['labelNames'], 'a row has its label in label or labels, and a head the names of its labels'],
  [['lengthColumnName'], 'rows are measured: groupByLength alone is enough'],
  [
    ['includeForMetrics', 'includeInputsForMetrics', 'evalDoConcatBatches', 'batchEvalMetrics', 'predictionLossOnly'],
    'built-in measures count batch by batch, and computeMetrics gets all logits and labels at once'
  ],
  [
    ['includeTokensPerSecond', 'includeNumInputTokensSeen'],
    'log events always have tokensPerSecond and rowsPerSecond, step events tokens and rows'
  ],
  [['loggingNanInfFilter'], 'a loss that is not finite ends the run by name, ERR_NAN_LOSS'],
  [
    ['logLevel', 'logLevelReplica', 'logOnEachNode', 'disableTqdm'],
    'a trainer prints nothing: its events do, by trainingProgress() for example'
  ],
  [['project', 'trackioSpaceId'], 'reportTo writes files alone: jsonl, html and tensorboard'],
  [
    [
      ...['pushToHub', 'pushToHubModelId', 'pushToHubOrganization', 'pushToHubToken', 'hubModelId', 'hubStrategy'],
      ...['hubToken', 'hubPrivateRepo', 'hubAlwaysPush', 'hubRevision']
    ],
    "nothing is uploaded: save the adapter and upload its folder with Hugging Face's own tools"
  ],
  [
    [
      ...['dataloaderNumWorkers', 'dataloaderPrefetchFactor', 'dataloaderPinMemory', 'dataloaderPersistentWorkers'],
      'acceleratorConfig'
    ],
    'the next batch is always made ready while a step computes'
  ],
  [
    [
      ...['torchCompile', 'torchCompileBackend', 'torchCompileMode', 'torchdynamo', 'jitModeEval', 'useLigerKernel'],
      'ligerKernelConfig'
    ],
    'nothing is compiled at run time: fused kernels are built in'
  ],
  [
    [
      ...['fsdp', 'fsdpConfig', 'fsdpMinNumParams', 'fsdpTransformerLayerClsToWrap', 'deepspeed', 'parallelismConfig'],
      ...['localRank', 'ddpBackend', 'ddpFindUnusedParameters', 'ddpBucketCapMb', 'ddpBroadcastBuffers', 'ddpTimeout'],
      ...['tpuNumCores', 'tpuMetricsDebug', 'mpParameters', 'rayScope', 'saveOnEachNode', 'evalUseGatherObject'],
      ...['averageTokensAcrossDevices', 'debug', 'nGpu']
    ],
    'one process trains on one device'
  ],
  [['torchEmptyCacheSteps'], 'memory that is free goes back by itself'],
  [['useLegacyPredictionLoop'], 'there is one loop for evaluations'],
  [['pastIndex'], 'no model here hands a state on to the next batch'],
  [['neftuneNoiseAlpha'], "NEFTune's noise in the embeddings is not built"],
  [['optimTargetModules'], 'GaLore and its like are not built; what trains is what trainAdapter or freeze say']
]

const renamed = new Map(Object.entries(otherNames).map(([name, own]) => [plain(name), own]))
const missing = new Map(reasons.flatMap(([names, reason]) => names.map((name) => [plain(name), reason] as const)))

/** Why an argument of Hugging Face's has no counterpart here, in any spelling; undefined where it is none of those. */
export const reasonAgainst = (name: string): string | undefined => missing.get(plain(name))

/** Our name of an argument that others call so. */
export const ownNameOf = (name: string): string | undefined => renamed.get(plain(name))

/** What to say of a name that is no argument here and known from elsewhere: the rest of a sentence that begins with it. */
export function explainArgument(name: string): string | undefined {
  const own = ownNameOf(name)
  if (own !== undefined) return `is called '${own}' here`
  const reason = reasonAgainst(name)
  return reason === undefined ? undefined : `is no argument here: ${reason}`
}
