import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { AdapterConfig, MethodConfig } from '../config/adapter-config.js'
import { BottleneckConfig } from '../config/bottleneck-config.js'
import { quoted } from '../config/check.js'
import { adapterConfigHash } from '../config/config-hash.js'
import { fusionConfigToJson } from '../config/fusion-config.js'
import { headConfigToJson, labelNames } from '../config/head-config.js'
import { LoraConfig, loraPlaces, MtlLoraConfig } from '../config/lora-config.js'
import { modelConfigFromJson, modelConfigToJson } from '../config/model-config.js'
import { PrefixTuningConfig } from '../config/prefix-config.js'
import { PromptTuningConfig } from '../config/prompt-config.js'
import { inFile, readJsonObject } from '../config/read-json.js'
import { ReftConfig } from '../config/reft-config.js'
import { type AdapterFolder, type HeadFolder, readAdapterFolder, readHeadFolder } from '../exchange/adapter-folder.js'
import type { BaseModelNote } from '../exchange/base-model.js'
import {
  adapterConfigFile,
  fusionConfigFile,
  headConfigFile,
  noAdapterHere,
  setupConfigFile
} from '../exchange/folder-files.js'
import { type FusionFolder, readFusionFolder } from '../exchange/fusion-folder.js'
import { isPeftFolder } from '../exchange/peft-folder.js'
import { trainingFile } from '../training/checkpoint-folder.js'
import { exitStatus, parseCommand, usageError } from './arguments.js'
import { type ArchiveSummary, archivePart, describeArchive } from './inspect-archive.js'
import {
  type CheckpointEntry,
  type CheckpointSummary,
  checkpointPart,
  checkpointsPart,
  describeCheckpoint,
  describeCheckpoints
} from './inspect-checkpoint.js'
import { describePeft, type PeftSummary, summarizePeft } from './inspect-peft.js'
import { describeSetup, type SetupSummary, setupPart } from './inspect-setup.js'
import { printJson } from './output.js'
import { describeWeights, summarizeWeights, type WeightsSummary } from './weights-summary.js'

export const summary = 'print what an adapter, a head, a checkpoint or a file of weights holds'

const usage = `Usage: torch-adapters inspect FOLDER_OR_FILE [--tensors] [--json]

Reads the configs and the index of the weights; loads no model, but for an archive. FOLDER is an adapter's (AdapterHub's
or PEFT's), a fusion's, a head's, a whole setup's, a model's, a checkpoint's, or one of checkpoints; FILE is one of
safetensors or PyTorch's (.bin, .pt), or an archive of torch.export (.pt2), whose graph is read, too.
Exit status: 0 done, 1 the folder or file is not what it should be, 2 called in a wrong way.

  --tensors  also the name, shape and type of every tensor
  --json     one JSON object, tensors included
  --help     this text
`

interface Inspection {
  readonly path: string
  readonly adapter?: Omit<AdapterFolder, 'folder' | 'head' | 'weightsFile'> & {
    readonly hash: string
    readonly weights: WeightsSummary
  }
  readonly peft?: PeftSummary
  readonly setup?: SetupSummary
  readonly fusion?: Omit<FusionFolder, 'folder' | 'weightsFile' | 'config'> & {
    readonly config: object
    readonly weights: WeightsSummary
  }
  readonly head?: Omit<HeadFolder, 'folder' | 'weightsFile'> & { readonly weights: WeightsSummary }
  readonly model?: Record<string, unknown>
  readonly archive?: ArchiveSummary
  readonly weights?: readonly WeightsSummary[]
  readonly checkpoint?: CheckpointSummary
  readonly checkpoints?: readonly CheckpointEntry[]
  /** Folders of adapters and heads inside, as a checkpoint and a whole setup have them. */
  readonly inside?: readonly Inspection[]
}

export async function inspect(path: string): Promise<Inspection> {
  if (!existsSync(path)) {
    throw usageError(`${path} does not exist`)
  }
  if (statSync(path).isFile()) {
    const { archive } = await archivePart(path)
    return archive === undefined ? { path, weights: [await summarizeWeights(path)] } : { path, archive }
  }
  const parts = {
    ...setupPart(path),
    ...(await adapterPart(path)),
    ...(await fusionPart(path)),
    ...(await headPart(path)),
    ...(await modelPart(path)),
    ...checkpointPart(path),
    ...checkpointsPart(path),
    ...(await insidePart(path))
  }
  if (Object.keys(parts).length === 0) throw noAdapterHere(path)
  return { path, ...parts }
}

async function adapterPart(path: string): Promise<Pick<Inspection, 'adapter' | 'peft'>> {
  if (!existsSync(join(path, adapterConfigFile))) return {}
  if (isPeftFolder(path)) return { peft: await summarizePeft(path) }
  const { folder: _, head: __, weightsFile, ...adapter } = readAdapterFolder(path, false)
  return {
    adapter: { ...adapter, hash: adapterConfigHash(adapter.config), weights: await summarizeWeights(weightsFile) }
  }
}

async function fusionPart(path: string): Promise<Pick<Inspection, 'fusion'>> {
  if (!existsSync(join(path, fusionConfigFile))) return {}
  const { folder: _, weightsFile, config, ...fusion } = readFusionFolder(path)
  return { fusion: { ...fusion, config: fusionConfigToJson(config), weights: await summarizeWeights(weightsFile) } }
}

async function headPart(path: string): Promise<Pick<Inspection, 'head'>> {
  const folder = existsSync(join(path, headConfigFile)) ? readHeadFolder(path) : null
  if (folder === null) return {}
  const { folder: _, weightsFile, ...head } = folder
  return { head: { ...head, weights: await summarizeWeights(weightsFile) } }
}

/** Models and checkpoints: files whose names are known. */
async function modelPart(path: string): Promise<Pick<Inspection, 'model' | 'weights'>> {
  const file = join(path, 'config.json')
  const names = ['model.safetensors', 'pytorch_model.bin', 'inserted_modules.safetensors', trainingFile]
  const weights = await Promise.all(
    names
      .map((name) => join(path, name))
      .filter(existsSync)
      .map(summarizeWeights)
  )
  const config = existsSync(file) ? readJsonObject(file, 'read the model') : undefined
  const model = config && inFile(file, 'read the model', () => modelConfigToJson(modelConfigFromJson(config)))
  return { ...(model === undefined ? {} : { model }), ...(weights.length === 0 ? {} : { weights }) }
}

async function insidePart(path: string): Promise<Pick<Inspection, 'inside'>> {
  if (![trainingFile, setupConfigFile].some((file) => existsSync(join(path, file)))) return {}
  const folders = readdirSync(path).map((name) => join(path, name))
  const parts = folders.filter((folder) =>
    [adapterConfigFile, headConfigFile, fusionConfigFile].some((file) => existsSync(join(folder, file)))
  )
  return parts.length === 0 ? {} : { inside: await Promise.all(parts.map(inspect)) }
}

function sharedWith({ name, sharing }: Pick<AdapterFolder, 'name' | 'sharing'>): string[] {
  const others = sharing?.adapters.filter((one) => one !== name) ?? []
  return others.length === 0 ? [] : [`  shares        A and the up-projections with ${quoted(others)}`]
}

function text(inspection: Inspection, withTensors: boolean): string {
  const { path, setup, adapter, peft, fusion, head, model, archive, checkpoint, checkpoints, weights, inside } =
    inspection
  const lines = [path]
  if (setup !== undefined) lines.push('', ...describeSetup(setup))
  if (adapter !== undefined) {
    lines.push('', `adapter '${adapter.name}'`, ...describeAdapter(adapter.config, adapter.hash))
    lines.push(
      trainedOn(adapter.model),
      ...sharedWith(adapter),
      `  written by    ${adapter.version ?? 'adapter-transformers 1'}`,
      ...describeWeights(adapter.weights, withTensors)
    )
  }
  if (peft !== undefined) lines.push('', ...describePeft(peft), ...describeWeights(peft.weights, withTensors))
  if (fusion !== undefined) {
    const fields = Object.entries(fusion.config).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    lines.push('', `fusion '${fusion.name}' over ${quoted(fusion.adapters)}`, `  config        ${fields.join(', ')}`)
    lines.push(trainedOn(fusion.model), ...describeWeights(fusion.weights, withTensors))
  }
  if (head !== undefined) {
    const names = labelNames(head.config)
    const shown = names.length > 12 ? `${names.slice(0, 12).join(', ')}, …` : names.join(', ')
    lines.push('', head.name === null ? 'head of a model class' : `head '${head.name}'`)
    lines.push(
      `  type          ${head.config.headType}${'layers' in head.config ? `, ${head.config.layers} layer${head.config.layers > 1 ? 's' : ''}` : ''}`
    )
    if (names.length > 0) lines.push(`  labels        ${names.length}: ${shown}`)
    if ((adapter ?? peft ?? fusion) === undefined) lines.push(trainedOn(head.model))
    lines.push(...describeWeights(head.weights, withTensors))
  }
  if (model !== undefined) {
    lines.push('', 'model', ...Object.entries(model).map(([key, value]) => `  ${key.padEnd(29)} ${value}`))
  }
  if (archive !== undefined) lines.push('', ...describeArchive(archive))
  if (checkpoint !== undefined) lines.push('', ...describeCheckpoint(checkpoint))
  if (checkpoints !== undefined) lines.push('', ...describeCheckpoints(checkpoints))
  for (const part of weights ?? []) lines.push('', ...describeWeights(part, withTensors))
  for (const part of inside ?? []) lines.push('', text(part, withTensors).trimEnd())
  return `${lines.join('\n')}\n`
}

function trainedOn({ type, name, hiddenSize }: BaseModelNote): string {
  const parts = [name || 'a model', type, hiddenSize && `hidden size ${hiddenSize}`]
  return `  trained on    ${parts.filter(Boolean).join(', ')}`
}

/** The fields that differ from the library's defaults say all about a config. */
function describeAdapter(config: AdapterConfig, hash: string): string[] {
  if (config.method === 'output') {
    const { adapterSize, activation } = config
    const line = `  config        ${activation} adapter of size ${adapterSize} on the last hidden state`
    return [line, `  config hash   ${hash}`]
  }
  const parts = config.method === 'union' ? config.configs : [config]
  return [...parts.map((part) => `  config        ${describePart(part)}`), `  config hash   ${hash}`]
}

function describePart(part: MethodConfig): string {
  if (part.method === 'bottleneck') {
    const places = [part.mhAdapter && 'attention', part.outputAdapter && 'feed-forward'].filter(Boolean).join(' and ')
    const bare = { mhAdapter: true, outputAdapter: true, reductionFactor: 1, nonLinearity: 'linear' } as const
    const fields = otherFields(part, new BottleneckConfig(bare), ['mh_adapter', 'output_adapter'])
    return `bottleneck after ${places}: ${fields}`
  }
  if (part.method === 'prefix_tuning') {
    const fields = [
      `prefix_length=${part.prefixLength}`,
      otherFields(part, new PrefixTuningConfig(), ['prefix_length'])
    ]
    return `prefix_tuning at attention: ${fields.filter(Boolean).join(', ')}`
  }
  if (part.method === 'prompt_tuning') {
    const fields = [
      `prompt_length=${part.promptLength}`,
      otherFields(part, new PromptTuningConfig(), ['prompt_length'])
    ]
    return `prompt_tuning at the embeddings: ${fields.filter(Boolean).join(', ')}`
  }
  if (part.method === 'reft') {
    const layers = part.layers === 'all' ? 'all layers' : `layers ${part.layers.join(', ')}`
    const fields = [`r=${part.r}`, otherFields(part, new ReftConfig(), ['layers', 'r'])]
    return `reft after ${layers}: ${fields.filter(Boolean).join(', ')}`
  }
  const told = ['selfattn_lora', 'attn_matrices', 'intermediate_lora', 'output_lora', 'r', 'alpha']
  const bare = part.method === 'lora' ? new LoraConfig() : new MtlLoraConfig()
  const fields = [`r=${part.r}`, `alpha=${part.alpha}`, otherFields(part, bare, told)].filter(Boolean).join(', ')
  return `${part.method} at ${loraPlaces(part).join(', ')}: ${fields}`
}

function otherFields(part: MethodConfig, bare: MethodConfig, told: readonly string[]): string {
  const plain = bare.toJSON()
  const fields = Object.entries(part.toJSON()).filter(
    ([key, value]) => !told.includes(key) && JSON.stringify(value) !== JSON.stringify(plain[key])
  )
  return fields.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(', ')
}

export async function run(argv: string[]): Promise<number> {
  const { values, operands } = parseCommand(
    argv,
    {
      tensors: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false }
    },
    ['FOLDER_OR_FILE']
  )
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  const inspection = await inspect(operands[0] as string)
  if (values.json) printJson(forPrograms(inspection))
  else process.stdout.write(text(inspection, values.tensors))
  return exitStatus.done
}

/** The head's config in the words of its file, as the adapter's config gives them by itself. */
function forPrograms({ inside, ...inspection }: Inspection): object {
  if (inside !== undefined) return { ...forPrograms(inspection), inside: inside.map(forPrograms) }
  const { head } = inspection
  if (head === undefined) return inspection
  const {
    vocab_size: _,
    embedding_size: __,
    ...config
  } = headConfigToJson(head.config, { vocabSize: 0, embeddingSize: 0 })
  return { ...inspection, head: { ...head, config } }
}
