import { bestModelDefaults } from './best-model.js'
import * as check from './check.js'
import { explainArgument } from './foreign-arguments.js'
import { type ResolvedTrainingArguments, type TrainingArguments, trainingArguments } from './training-arguments.js'

export const taskArgumentNames: readonly string[] = [
  ...['learningRate', 'parameterGroups', 'weightDecay', 'labelSmoothingFactor', 'classWeights', 'maxGradNorm'],
  ...['optim', 'optimArgs', 'adamBeta1', 'adamBeta2', 'adamEpsilon'],
  ...['lrSchedulerType', 'lrSchedulerKwargs', 'warmupRatio', 'warmupSteps', 'mlmProbability'],
  ...['perDeviceTrainBatchSize', 'maxTokensPerBatch', 'groupByLength', 'shuffle', 'dataSeed', 'dataloaderDropLast'],
  ...Object.keys(bestModelDefaults)
]

/** Training arguments that one of several that train side by side may have for itself. */
export type TaskArguments = Pick<
  TrainingArguments,
  | 'learningRate'
  | 'parameterGroups'
  | 'weightDecay'
  | 'labelSmoothingFactor'
  | 'classWeights'
  | 'maxGradNorm'
  | 'optim'
  | 'optimArgs'
  | 'adamBeta1'
  | 'adamBeta2'
  | 'adamEpsilon'
  | 'lrSchedulerType'
  | 'lrSchedulerKwargs'
  | 'warmupRatio'
  | 'warmupSteps'
  | 'mlmProbability'
  | 'perDeviceTrainBatchSize'
  | 'maxTokensPerBatch'
  | 'groupByLength'
  | 'shuffle'
  | 'dataSeed'
  | 'dataloaderDropLast'
  | 'loadBestModelAtEnd'
  | 'metricForBestModel'
  | 'greaterIsBetter'
  | 'earlyStoppingPatience'
  | 'earlyStoppingThreshold'
>

export const isTaskArgument = (name: string): boolean => taskArgumentNames.includes(name)

/** All arguments of one of several: its own in place of those of all. `name`: for messages, such as `tasks.sst.args`. */
export function taskArguments(
  name: string,
  args: TrainingArguments,
  given: TaskArguments | undefined
): ResolvedTrainingArguments {
  const fields = check.checkObject(name, given ?? {})
  const known = Object.keys(trainingArguments())
  for (const key of Object.keys(fields)) {
    if (known.includes(key) && !isTaskArgument(key)) {
      throw check.valueError(
        `${name}.${key}`,
        `it is one for all: give it in args. Of its own are ${taskArgumentNames.join(', ')}`
      )
    }
  }
  check.checkKeys(name, fields, taskArgumentNames, explainArgument)
  try {
    return trainingArguments({ ...withoutOther(args, fields), ...fields })
  } catch (error) {
    const isOwn = error instanceof TypeError || error instanceof RangeError
    if (isOwn && !isOfAll(args, error)) {
      error.message = error.message.replace(/^args(?=[.:])/, name)
    }
    throw error
  }
}

/** Whether those of all are wrong by themselves. */
function isOfAll(args: TrainingArguments, { message }: Error): boolean {
  try {
    trainingArguments(args)
    return false
  } catch (error) {
    return error instanceof Error && error.message === message
  }
}

/** A batch has so many rows or so many tokens: one's own say takes the place of what is said for all. */
function withoutOther(args: TrainingArguments, own: TaskArguments): TrainingArguments {
  const { perDeviceTrainBatchSize, maxTokensPerBatch, ...rest } = args
  return {
    ...rest,
    ...(perDeviceTrainBatchSize !== undefined && own.maxTokensPerBatch == null && { perDeviceTrainBatchSize }),
    ...(maxTokensPerBatch !== undefined && own.perDeviceTrainBatchSize === undefined && { maxTokensPerBatch })
  }
}
