// Right and wrong uses of the public API, for the compiler alone: nothing here runs. A wrong use that compiles is an
// error of its "expect-error" comment, and a right one that does not compile is an error by itself.
import {
  AdapterConfig,
  AdapterError,
  type AdapterSetup,
  AdapterTrainer,
  AutoModel,
  Average,
  adapterLayer,
  addAdaptersToModel,
  ConfigUnion,
  type Dataset,
  type EvalDataset,
  type ForwardOutputs,
  Fuse,
  type GeneratedToken,
  type HeadConfig,
  LoraConfig,
  type Model,
  type Prediction,
  type Replacement,
  type ResolvedTrainingArguments,
  type Row,
  readRows,
  Split,
  Stack,
  sequential,
  setNumThreads,
  type Tensor,
  type TrainingArguments,
  type TrainingEvent,
  type TrainResult
} from '../../lib/index.js'

/** Fails to compile unless both types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <_ extends true>(): void => {}

export async function models(): Promise<void> {
  using model = await AutoModel.fromPretrained('bert-base-uncased', { device: 'auto', seed: 1 })
  same<Same<typeof model, Model>>()
  // @ts-expect-error a source is needed
  await AutoModel.fromPretrained()
  // @ts-expect-error no such option
  await AutoModel.fromPretrained('bert-base-uncased', { devise: 'cpu' })
  // @ts-expect-error models are made by AutoModel, which is no class
  new AutoModel()
  // @ts-expect-error what a model was loaded from does not change
  model.source = 'another'
  // @ts-expect-error adapters are added by addAdapter
  model.adapters.set('a', AdapterConfig.load('seq_bn'))
  setNumThreads(2)
  // @ts-expect-error a number
  setNumThreads('2')
}

export function configs(model: Model): void {
  new ConfigUnion(new LoraConfig({ r: 4 }), AdapterConfig.load('seq_bn'))
  new ConfigUnion([AdapterConfig.load('lora'), AdapterConfig.load('seq_bn')])
  // @ts-expect-error a preset is loaded first
  new ConfigUnion('lora', 'seq_bn')
  const config = AdapterConfig.load('pfeiffer', { reductionFactor: { '0': 8, default: 16 }, nonLinearity: 'gelu' })
  // Told apart by `method`; only one of them has the fields.
  if (config.method === 'bottleneck') same<Same<typeof config.mhAdapter, boolean>>()
  // @ts-expect-error a union has no fields of its own
  config.mhAdapter
  // @ts-expect-error no such activation
  AdapterConfig.load('pfeiffer', { nonLinearity: 'rellu' })
  // @ts-expect-error a number, 'learned' or 'channel'
  AdapterConfig.load('pfeiffer', { scaling: 'learnt' })
  // @ts-expect-error overrides are in camelCase
  AdapterConfig.load('pfeiffer', { reduction_factor: 8 })
  model.addAdapter('a')
  model.addAdapter('b', 'seq_bn[reduction_factor=8]', { overwriteOk: true })
  model.addAdapter('c', config)
  // Snake case, as read from JSON.
  const json = { mh_adapter: true, output_adapter: false, reduction_factor: 16, non_linearity: 'relu' } as const
  model.addAdapter('d', json)
  model.addAdapter('f', { architecture: 'union', configs: [{ ...json, mh_adapter: true, output_adapter: false }] })
  const fields = { mhAdapter: true, outputAdapter: false, reductionFactor: 16, nonLinearity: 'relu' } as const
  model.addAdapter('g', { ...fields, dropout: 0 })
  model.addAdapter('h', JSON.parse('{}'))
  // A JSON file that is imported has text where the options have names.
  const imported: { mh_adapter: boolean; output_adapter: boolean; reduction_factor: number; non_linearity: string } =
    json
  model.addAdapter('h', imported)
  // @ts-expect-error no such field
  model.addAdapter('i', { ...fields, dropOut: 0 })
  // @ts-expect-error no such field in JSON
  model.addAdapter('j', { ...json, non_linearty: 'relu' })
  // @ts-expect-error required fields are missing
  model.addAdapter('k', { reductionFactor: 8 })
  // @ts-expect-error a name is needed
  model.addAdapter()
  // @ts-expect-error a config is no number
  model.addAdapter('e', 16)
}

export function heads(model: Model): void {
  model.addClassificationHead('a', { labels: ['no', 'yes'], layers: 1, activationFunction: null })
  model.addRegressionHead('b', { usePooler: true })
  model.addTaggingHead('c', { numLabels: 9 })
  model.addMaskedLmHead('d')
  // @ts-expect-error numLabels is written in camelCase
  model.addClassificationHead('a', { num_labels: 2 })
  model.averageHead('b', { a: 1 }, { normalizeWeights: false, overwriteOk: true })
  // @ts-expect-error what is averaged has no random start
  model.averageHead('b', ['a'], { seed: 1 })
  // @ts-expect-error regression has one output
  model.addRegressionHead('b', { numLabels: 2 })
  // @ts-expect-error tagging reads every token, not the pooler
  model.addTaggingHead('c', { usePooler: true })
  const head = model.heads.get('a')
  if (head?.headType === 'masked_lm') {
    // @ts-expect-error its outputs are the vocabulary
    head.numLabels
  }
  same<Same<typeof head, HeadConfig | undefined>>()
}

export function setups(model: Model): void {
  model.setActiveAdapters(Stack('a', 'b'))
  model.setActiveAdapters(null)
  model.trainAdapter('a')
  // @ts-expect-error training needs an adapter
  model.trainAdapter(null)
  // @ts-expect-error a stack is made by Stack
  model.setActiveAdapters(['a', 'b'])
  model.setActiveAdapters(Stack('a', Average('b', null, { weights: [2, 1] }), Split('c', 'd', { splits: [3, 5] })))
  model.addAdapterFusion(['a', 'b'], 'static', { name: 'f' })
  model.addAdapterFusion(Fuse('a', 'b'), { value_initialized: false, dropout_prob: 0 })
  model.trainAdapterFusion(Fuse('a', 'b', { name: 'f' }), { unfreezeAdapters: true })
  // @ts-expect-error no such preset
  model.addAdapterFusion(['a', 'b'], 'dynamik')
  // @ts-expect-error no such field
  model.addAdapterFusion(['a', 'b'], { valueInitialised: true })
  // @ts-expect-error a split says how many tokens each child gets
  Split('a', 'b')
  same<Same<typeof model.activeAdapters, AdapterSetup>>()
  model.activeHead = null
  // @ts-expect-error a name or null
  model.activeHead = 1
  model.freeze((name) => name.startsWith('bert.'))
  // @ts-expect-error a function of the name
  model.freeze('bert.')
}

export async function work(model: Model): Promise<void> {
  const answers = await model.predict(['text', { text: 'a', textPair: 'b' }, { inputIds: [2, 3] }], {
    adapters: ['a', null, Stack('a', 'b')]
  })
  same<Same<typeof answers, Prediction[]>>()
  // @ts-expect-error there may be no label: a regression head gives none
  answers[0]?.label.length
  // @ts-expect-error there may be fewer rows
  answers[0].logits
  // @ts-expect-error rows are an array
  await model.predict('text')
  await model.predict([{ pixelValues: new Float32Array(3) }, { pixelValues: [0.5] }], { imageSize: [16, 32] })
  // @ts-expect-error height and width
  await model.predict(['text'], { imageSize: [16] })
  await model.predict([
    { text: 'a', taskId: 'one' },
    { inputIds: [2, 3], taskId: 1 }
  ])
  for await (const token of model.generateStream(['once'], { maxNewTokens: 2, signal: AbortSignal.timeout(1) })) {
    same<Same<typeof token, GeneratedToken>>()
    const { row, text = '', done }: { row: number; text?: string; done: boolean } = token
    void [row, text, done]
    // @ts-expect-error a whole answer has ids, a token is one
    token.ids
  }
  await model.forward({ pixelValues: [new Float32Array(3)], labels: [1] })
  // @ts-expect-error neither ids nor images
  await model.forward({ attentionMask: [[1]] })
  // @ts-expect-error a row is a text, words, ids or an image
  await model.predict([{ txt: 'a' }])
  // @ts-expect-error no such option
  await model.predict(['text'], { adapter: 'a' })

  const outputs = await model.forward({ inputIds: [[2, 3], Int32Array.of(2, 4, 3)], labels: [0, 1] }, { head: null })
  same<Same<typeof outputs, ForwardOutputs>>()
  same<Same<typeof outputs.logits, Tensor | undefined>>()
  await model.forward({
    inputIds: { data: new Int32Array(4), shape: [2, 2] },
    attentionMask: [
      [1, 1],
      [1, 0]
    ]
  })
  // @ts-expect-error ids are needed
  await model.forward({ attentionMask: [[1]] })
  // @ts-expect-error rows of ids, not one row
  await model.forward({ inputIds: [2, 3] })
}

export async function training(model: Model, rows: readonly Row[]): Promise<void> {
  const args: TrainingArguments = { lrSchedulerType: 'cosine', saveStrategy: 'epoch', resumeFromCheckpoint: true }
  const trainer = new AdapterTrainer({ model, trainDataset: rows, evalDataset: readRows('dev.jsonl'), args })
  // What one writes may leave anything out; what a trainer has is whole, and arguments again.
  same<Same<typeof trainer.args, ResolvedTrainingArguments>>()
  same<Same<typeof trainer.args.seed, number>>()
  const more: TrainingArguments = { ...trainer.args, outputDir: 'out', numTrainEpochs: 5 }
  // @ts-expect-error misspelled
  const misspelled: TrainingArguments = { ...more, outputdir: 'out' }
  // @ts-expect-error what is left out is not filled in by itself
  const whole: ResolvedTrainingArguments = args
  void [misspelled, whole]
  const sets: EvalDataset = { dev: rows, other: readRows('other.jsonl') }
  await trainer.evaluate({ evalDataset: sets })
  same<Same<Awaited<ReturnType<typeof trainer.train>>, TrainResult>>()
  for await (const event of trainer.run({ signal: AbortSignal.timeout(1000) })) {
    same<Same<typeof event, TrainingEvent>>()
    if (event.type === 'log') same<Same<typeof event.tokensPerSecond, number>>()
    if (event.type === 'save') same<Same<typeof event.folder, string>>()
    // @ts-expect-error only an evaluation has metrics
    event.metrics
  }
  // @ts-expect-error a dataset is needed
  new AdapterTrainer({ model })
  // @ts-expect-error no such schedule
  new AdapterTrainer({ model, trainDataset: rows, args: { lrSchedulerType: 'exponential' } })
  // @ts-expect-error arguments are in camelCase
  new AdapterTrainer({ model, trainDataset: rows, args: { learning_rate: 1e-3 } })
  const dataset: Dataset = new Set<Row>([
    { text: 'a', label: 'b' },
    { words: ['a'], labels: [0] }
  ])
  const texts: Dataset = ['a', 'b']
  // @ts-expect-error a row has a text, words or ids
  const wrong: Row = { label: 'b' }
  void [dataset, texts, wrong]
}

export async function files(model: Model): Promise<void> {
  await model.saveAdapter('folder', 'a', { format: 'bin', dialect: 'plain', withHead: false })
  same<Same<ReturnType<typeof model.loadAdapter>, Promise<string>>>()
  // @ts-expect-error the folder comes first, then the name
  await model.saveAdapter('folder')
  // @ts-expect-error no such format
  await model.saveAdapter('folder', 'a', { format: 'pickle' })
  // @ts-expect-error no such option
  await model.loadAdapter('folder', { name: 'a' })
  same<Same<ReturnType<typeof model.loadHead>, Promise<string>>>()
  await model.saveHead('folder', 'a', { format: 'pt' })
  // @ts-expect-error a head's names have one dialect
  await model.saveHead('folder', 'a', { dialect: 'plain' })
  // @ts-expect-error no such type of numbers
  await model.savePretrained('folder', { dtype: 'int8' })
}

export function errors(error: unknown): boolean {
  if (!(error instanceof AdapterError)) return false
  // @ts-expect-error no such code
  if (error.code === 'ERR_NOPE') return false
  return error.code === 'ERR_NAN_LOSS'
}

export function surgery(model: Model): void {
  const layer = adapterLayer({ hiddenSize: 768, adapterSize: 48 })
  const done = model.replaceModule('transformer.h.0.mlp', (mlp) => sequential(mlp, layer))
  same<Same<typeof done, Replacement>>()
  addAdaptersToModel(model, { pattern: 'transformer.h.*.mlp', hiddenSize: 768, adapterSize: 48 })
  same<Same<ReturnType<typeof model.undo>, boolean>>()
  // @ts-expect-error a size is needed
  adapterLayer({ hiddenSize: 768 })
  // @ts-expect-error no such option
  adapterLayer({ hiddenSize: 768, adapterSize: 48, adapter_size: 48 })
  // @ts-expect-error a module, and not its path
  model.replaceModule('transformer.h.0.mlp', () => 'transformer.h.1.mlp')
  // @ts-expect-error descriptions do not change
  layer.adapterSize = 24
}
