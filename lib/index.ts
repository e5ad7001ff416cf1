// TypeScript 7 takes no types by itself; these are in our own.
/// <reference types="node" preserve="true" />
export { AdapterConfig, type AdapterConfigSource, type AdapterOverrides, ConfigUnion } from './config/adapter-config.js'
export type { BestModelArguments } from './config/best-model.js'
export {
  BottleneckConfig,
  type BottleneckOptions,
  type BottleneckOverrides,
  type InitWeights,
  type ReductionFactor,
  type ResidualBeforeLn,
  type Scaling
} from './config/bottleneck-config.js'
export type {
  DependencyParsingHeadOptions,
  MultipleChoiceHeadOptions,
  QuestionAnsweringHeadOptions
} from './config/choice-heads.js'
export type { ClassWeights } from './config/class-weights.js'
export {
  Average,
  type AverageOptions,
  BatchSplit,
  type Composition,
  type CompositionBlock,
  Fuse,
  MultiTask,
  Parallel,
  Split,
  Stack
} from './config/composition.js'
export type { Placement, PlacementPatterns } from './config/exported-placement.js'
export type { FusionConfig, FusionConfigSource, FusionPreset } from './config/fusion-config.js'
export type {
  CausalLmHeadOptions,
  ClassificationHeadOptions,
  HeadConfig,
  HeadType,
  ImageClassificationHeadOptions,
  MaskedLmHeadOptions,
  MultiLabelHeadOptions,
  RegressionHeadOptions,
  TaggingHeadOptions
} from './config/head-config.js'
export type { HeadSetup } from './config/head-setup.js'
export {
  type AttnMatrix,
  LoraConfig,
  type LoraInitWeights,
  type LoraOverrides,
  MtlLoraConfig,
  type MtlLoraOverrides,
  type TargetModules
} from './config/lora-config.js'
export type { ModelConfig } from './config/model-config.js'
export {
  type AdapterLayerModule,
  type AdapterLayerOptions,
  adapterLayer,
  bottleneck,
  type DynamicAdapterOptions,
  type DynamicModule,
  dynamicAdapter,
  type ExistingModule,
  type FusedAdaptersOptions,
  type FusedModule,
  fusedAdapters,
  type HierarchicalModule,
  type HierarchicalOptions,
  hierarchical,
  type ModuleDescription,
  type NewModule,
  type ParallelModule,
  parallel,
  type SequentialModule,
  sequential
} from './config/module-description.js'
export type { OptimizerArguments, OptimizerName, OptimizerSpelling } from './config/optimizer-arguments.js'
export { OutputAdapterConfig, type OutputAdapterOptions } from './config/output-adapter-config.js'
export type { ParameterGroup, ParameterMatch } from './config/parameter-groups.js'
export { PrefixTuningConfig, type PrefixTuningOverrides } from './config/prefix-config.js'
export { PromptTuningConfig, type PromptTuningOverrides } from './config/prompt-config.js'
export { adapterTrainingStrategy, type TrainingStrategy } from './config/recipes.js'
export { ReftConfig, type ReftOverrides } from './config/reft-config.js'
export type { ReportTarget, ReportTo } from './config/report-to.js'
export type { LrSchedulerKwargs, SchedulerType, ScheduleShape } from './config/scheduler-arguments.js'
export { chooseAdapterSize, type TaskComplexity } from './config/size.js'
export type {
  ResolvedTrainingArguments,
  SaveStrategy,
  Strategy,
  TrainingArguments
} from './config/training-arguments.js'
export type { Choice } from './data/choices.js'
export type {
  ChoicesRow,
  Dataset,
  FeaturesRow,
  IdsRow,
  ImageRow,
  IndexedRows,
  Label,
  QuestionRow,
  Row,
  SoundRow,
  TextRow,
  WordsRow
} from './data/dataset.js'
export { type DecodedImage, imagePixels, type PixelScaling } from './data/image-pixels.js'
export { type LabelNames, nameLabels } from './data/label-names.js'
export { readLabelNames } from './data/parquet.js'
export type { GivenAnswer, GivenAnswers } from './data/questions.js'
export { type RowFormat, readRows } from './data/read-rows.js'
export type { RowStream } from './data/row-stream.js'
export { type RowsFile, rowsFile } from './data/rows-file.js'
export { type DatasetSplit, type SplitOptions, trainTestSplit } from './data/split.js'
export { TextTokenizer } from './data/tokenizer.js'
export type { ValuesOfRow } from './data/value-rows.js'
export type { FolderFormat } from './exchange/folder-files.js'
export type { DownloadOptions } from './exchange/hub.js'
export type { DownloadProgress } from './exchange/hub-download.js'
export { batchInferenceWithAdapters } from './inference/batch.js'
export { AdapterSwitcher, type SwitcherSource } from './inference/switcher.js'
export { type AdapterSetupOptions, adapterSetup } from './model/adapter-setup.js'
export {
  type AdapterPosition,
  type AddAdaptersOptions,
  addAdaptersToModel,
  addSharedAdapter,
  freezeBaseModel
} from './model/add-adapters.js'
export { AutoModel } from './model/auto-model.js'
export type { AverageAdapterOptions, AverageHeadOptions, AverageOf, CombineStrategy } from './model/average.js'
export type { Answer } from './model/best-spans.js'
export type { ClassOptions } from './model/class-state.js'
export type {
  LoadAdapterOptions,
  LoadHeadOptions,
  SaveAdapterOptions,
  SaveHeadOptions,
  SavePretrainedOptions
} from './model/exchange.js'
export type { FusionAttentions } from './model/fusion-attentions.js'
export type { LoadFusionOptions, SaveFusionOptions } from './model/fusion-files.js'
export type { AdapterFusion } from './model/fusions.js'
export type { Generation } from './model/generate.js'
export type { GeneratedToken } from './model/generate-stream.js'
export type { GenerateOptions } from './model/generation-plan.js'
export type { AddOptions } from './model/heads.js'
export type { PixelValues } from './model/image-inputs.js'
export type { Ids, Shaped } from './model/input-rows.js'
export type { ForwardInputs, ImageInputs, TokenInputs } from './model/inputs.js'
export { Model } from './model/model.js'
export { MultiTaskAdapterModel, type TaskConfig, type TaskConfigJson } from './model/multi-task.js'
export type { ActiveOptions, ForwardOptions, LoadOptions, PredictOptions } from './model/options.js'
export type { ForwardOutputs, HeadOutput, Tensor } from './model/outputs.js'
export type { Prediction } from './model/predict.js'
export type { AdapterSetup, RowAdapters, TaskIds } from './model/setup.js'
export type { LoadSetupOptions, SaveSetupOptions } from './model/setup-files.js'
export type { ShareParametersOptions } from './model/sharing.js'
export type { StateDict, StateValue } from './model/state-dict.js'
export type { AdapterSummary, ModelSummary } from './model/summary.js'
export type { MakeModule, Replacement } from './model/surgery.js'
export type { Replaced } from './model/surgery-record.js'
export { setNumThreads } from './model/threads.js'
export type { TokenPrediction } from './model/token-answers.js'
export type { TrunkOption } from './model/trunk.js'
export type { ValueInputs, Values } from './model/value-inputs.js'
export type { ErrorCode } from './native/error-codes.js'
export { AdapterError } from './native/errors.js'
export type { DType, KeyDialect, ModuleInfo, ParameterInfo, TrunkTimes, TrunkType } from './native/types.js'
export type {
  TaskEnd,
  TaskEndEvent,
  TaskEvaluateEvent,
  TaskLogEvent,
  TaskResult,
  TaskStep,
  TasksEndEvent,
  TasksEvent,
  TasksStepEvent
} from './tasks/events.js'
export { type FuseTasksOptions, type FuseTasksResult, fuseTasks } from './tasks/fuse-tasks.js'
export {
  type MultiTaskResult,
  MultiTaskTrainer,
  type MultiTaskTrainerOptions,
  type TaskOptions
} from './tasks/multi-task-trainer.js'
export { type Progress, type ProgressOptions, trainingProgress } from './tasks/progress.js'
export { planSweep, type SweepMember, type SweepOptions, type SweepResult, trainSweep } from './tasks/sweep.js'
export type { SweepDataset } from './tasks/sweep-data.js'
export type { SweepGrid } from './tasks/sweep-grid.js'
export { sweepTable } from './tasks/sweep-table.js'
export type { TaskMode, TaskSampling } from './tasks/task-sampling.js'
export type { BestEvaluation } from './training/best.js'
export type { CallbackRun, TrainerCallback } from './training/callbacks.js'
export { type EvaluateOptions, type Evaluation, evaluate } from './training/evaluate.js'
export type { EvalDataset } from './training/evaluation-sets.js'
export type { EndEvent, EvaluateEvent, LogEvent, SaveEvent, StepEvent, TrainingEvent } from './training/events.js'
export type { MemoryPlan } from './training/memory-plan.js'
export type { Metrics } from './training/metrics.js'
export type { ComputeMetrics, Predictions } from './training/own-metrics.js'
export { CurveRecorder, type ReportOptions, type ReportTable, type RunCurves, reportHtml } from './training/report.js'
export {
  AdapterTrainer,
  type AdapterTrainerOptions,
  type PredictionOutput,
  type RunOptions,
  type TrainerEvaluateOptions,
  type TrainResult
} from './training/trainer.js'
