import { createHash } from 'node:crypto'
import { bestModelDefaults } from '../config/best-model.js'
import { fuseBlocks, fusionName } from '../config/composition.js'
import { type HeadConfig, labelNames, predictsWords } from '../config/head-config.js'
import { type ModelConfig, modelConfigToJson } from '../config/model-config.js'
import { isPlateau } from '../config/scheduler-arguments.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { labelOf, type Row } from '../data/dataset.js'
import { Pauses } from '../data/pauses.js'
import { headFields } from '../data/row-fields.js'
import { givenValues } from '../data/value-rows.js'
import type { Model } from '../model/model.js'
import { setupNames } from '../model/setup.js'
import { isAdapterParameter, isBaseParameter } from '../model/summary.js'
import { surgeryToJson } from '../model/surgery-record.js'
import type { ParameterInfo } from '../native/types.js'
import { EncodedDataset, requireHeads } from './encoded.js'
import { cacheRecord } from './frozen-layers.js'
import type { EncodedStream } from './stream.js'

/**
 * What decides the numbers of a run, by name: the arguments, the adapters and the head with their configs, the base model
 * and the rows. A run resumes only where all of it is the same. What is large is there as the start of its SHA-256.
 */
export type Fingerprint = Readonly<Record<string, unknown>>

/** Arguments that only say when something is told or kept, or when the run may end. */
const free = [
  ...['outputDir', 'resumeFromCheckpoint', 'saveTotalLimit', 'perDeviceEvalBatchSize'],
  // With a head that masks it is beside the head.
  ...['frozenLayerCache', 'reportTo', 'mlmProbability'],
  ...Object.keys(bestModelDefaults)
]

export async function fingerprint(
  model: Model,
  args: ResolvedTrainingArguments,
  data: EncodedDataset | EncodedStream
): Promise<Fingerprint> {
  const heads = [...requireHeads(model, 'train')].map(([name, config]) => headRecord(name, config))
  const active = setupNames(model.activeAdapters, model.known)
  const sharing = [...model.sharedParameters].filter(([, names]) => names.some((name) => active.includes(name)))
  return {
    ...deciding(args),
    adapters: model.activeAdapters,
    fusions: Object.fromEntries(
      fuseBlocks(model.activeAdapters).map((fuse) => [fusionName(fuse), model.adapterFusions.get(fusionName(fuse))])
    ),
    ...(await modelRecord(model, args, active)),
    ...(sharing.length === 0 ? {} : { sharedParameters: Object.fromEntries(sharing) }),
    ...maskingRecord(args, requireHeads(model, 'train').values()),
    ...(heads.length === 1 ? { head: heads[0] } : { heads }),
    // The rows of a stream are compared as they come again.
    ...(data instanceof EncodedDataset ? { rows: data.length, data: await dataDigest(data) } : { rows: 'a stream' })
  }
}

/** What the model is beside heads, fusions and rows. `active`: the adapters that run. */
export async function modelRecord(
  model: Model,
  args: ResolvedTrainingArguments,
  active: readonly string[]
): Promise<Fingerprint> {
  const all = model.namedParameters()
  const frozen = all.filter(({ trainable }) => !trainable)
  const still = active.filter((name) => !all.some((one) => one.trainable && isAdapterParameter(one, name)))
  return {
    ...(args.frozenLayerCache !== false && { frozenLayerCache: cacheRecord(args) }),
    adapterConfigs: Object.fromEntries(active.map((adapter) => [adapter, model.adapters.get(adapter)?.toJSON()])),
    ...(model.skippedLayers.length > 0 && { skipLayers: model.skippedLayers }),
    trunk: model.trunk,
    model: await digestOf(model, networkRecord(model.config), sampled(frozen.filter(isBaseParameter))),
    // Adapters that run, of which nothing trains.
    frozenAdapters: await digestOf(
      model,
      '',
      frozen.filter((parameter) => still.some((name) => isAdapterParameter(parameter, name)))
    ),
    ...(model.config.exported !== null && { placement: model.config.exported.placed.placement }),
    ...(model.replacements.length > 0 && { surgery: surgeryToJson(model.replacements) }),
    ...(model.mergedAdapter === null ? {} : { merged: model.mergedAdapter })
  }
}

const ofEvaluations = ['metricForBestModel', 'greaterIsBetter', 'evalStrategy', 'evalSteps', 'evalDelay']

/** The arguments that decide; patterns as JSON can hold them. */
export function deciding(args: ResolvedTrainingArguments): Record<string, unknown> {
  const groups = args.parameterGroups.map((group) => ({ ...group, match: String(group.match) }))
  const entries = Object.entries({ ...args, parameterGroups: groups })
  // There evaluations move the learning rate.
  const more = isPlateau(args) ? ofEvaluations : []
  return Object.fromEntries(
    entries.filter(([name]) => more.includes(name) || !(free.includes(name) || /^(logging|save|eval)/.test(name)))
  )
}

/** What hides words, where a head guesses them. */
export const maskingRecord = (
  { mlmProbability }: ResolvedTrainingArguments,
  heads: Iterable<HeadConfig | undefined>
): object => ([...heads].some((head) => head?.headType === 'masked_lm') ? { mlmProbability } : {})

/** JSON would sort the keys of { '2': 0, '1': 1 } and so hide the order of the labels. */
export function headRecord(name: string, config: HeadConfig): Record<string, unknown> {
  return { name, ...config, ...(predictsWords(config) ? {} : { label2id: null, labels: labelNames(config) }) }
}

/**
 * Of a frozen base model its biases and LayerNorms, which no two trainings of an encoder share, and one matrix, which tells
 * random starts apart.
 */
function sampled(frozen: readonly ParameterInfo[]): readonly ParameterInfo[] {
  const isSmall = ({ shape }: ParameterInfo) => shape.reduce((values, size) => values * size, 1) <= 1 << 20
  const matrix = frozen.find((parameter) => parameter.shape.length > 1 && isSmall(parameter))
  return frozen.filter((parameter) => parameter === matrix || (parameter.shape.length === 1 && isSmall(parameter)))
}

async function digestOf(model: Model, record: unknown, parameters: readonly ParameterInfo[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(record))
  const pauses = new Pauses()
  for (const { name } of parameters) {
    hash.update(name).update(model.parameter(name).data)
    await pauses.take()
  }
  return short(hash.digest('hex'))
}

/** Rows as they were given, in their order; the ids of the first stand for the tokenizer. */
export async function dataDigest(data: EncodedDataset): Promise<string> {
  const hash = createHash('sha256')
  const encoded = (i: number) => data.at(i, data.headsOf(i)[0] as string)
  for (let i = 0; i < data.length; i++) {
    const row = data.row(i)
    hash.update(`${JSON.stringify(content(row))}\n`)
    if (givenValues(row) !== undefined) hash.update(encoded(i).image?.pixelValues ?? '')
    if (i % 512 === 511) await data.pause()
  }
  for (let i = 0; i < Math.min(8, data.length); i++) hash.update(encoded(i).inputIds)
  return short(hash.digest('hex'))
}

function content(row: Row): unknown[] {
  const plain = (value: unknown) => (ArrayBuffer.isView(value) ? Array.from(value as Int32Array) : (value ?? null))
  const fields = row as unknown as Record<string, unknown>
  const { text, textPair, words, inputIds, tokenTypeIds, decoderInputIds, targetText } = fields
  const ofHeads = headFields.flatMap((field) => (fields[field] == null ? [] : [[field, plain(fields[field])]]))
  const ofDecoder = [decoderInputIds, targetText].filter((value) => value != null)
  const content = [
    ...[text, textPair, words, inputIds, tokenTypeIds, labelOf(row), ...ofDecoder].map(plain),
    ...ofHeads
  ]
  return row.taskId === undefined ? content : [...content, row.taskId]
}

const short = (digest: string): string => digest.slice(0, 16)

/** What of the config decides numbers. */
function networkRecord(config: ModelConfig): Record<string, unknown> {
  if (config.exported === null) return { ...modelConfigToJson(config), _name_or_path: '' }
  const { exported, nameOrPath: _, ...fields } = config
  const { className, inputs, linears, reading } = exported
  return { ...fields, class: className, inputs, linears, reading }
}
