import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { quoted } from '../config/check.js'
import { adapterConfigHash } from '../config/config-hash.js'
import { fusionConfigToJson } from '../config/fusion-config.js'
import { modelConfigFromJson, modelConfigToJson } from '../config/model-config.js'
import { inFile, readJsonObject } from '../config/read-json.js'
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
import { describeAdapter, describeFusion, describeHead, headFields } from './inspect-config.js'
import { describePeft, type PeftSummary, summarizePeft } from './inspect-peft.js'
import { describeSetup, type SetupSummary, setupPart } from './inspect-setup.js'
import { describeWholeModel, type WholeModelSummary, wholeModelForPrograms, wholeModelPart } from './inspect-whole.js'
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
  /** What the model's folder holds beside it. */
  readonly wholeModel?: WholeModelSummary
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
async function modelPart(path: string): Promise<Pick<Inspection, 'model' | 'wholeModel' | 'weights'>> {
  const file = join(path, 'config.json')
  const names = ['model.safetensors', 'pytorch_model.bin', 'inserted_modules.safetensors', trainingFile]
  const weights = await Promise.all(
    names
      .map((name) => join(path, name))
      .filter(existsSync)
      .map(summarizeWeights)
  )
  const read = weights.length === 0 ? {} : { weights }
  if (!existsSync(file)) return read
  const json = readJsonObject(file, 'read the model')
  const tensors = weights.flatMap((one) => one.tensors.map(({ name }) => name))
  return inFile(file, 'read the model', () => ({
    model: modelConfigToJson(modelConfigFromJson(json)),
    ...wholeModelPart(json, tensors),
    ...read
  }))
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
  const { path, setup, adapter, peft, fusion, head, model, wholeModel, archive } = inspection
  const { checkpoint, checkpoints, weights, inside } = inspection
  const lines = [path]
  if (setup !== undefined) lines.push('', ...describeSetup(setup))
  if (adapter !== undefined) {
    lines.push('', `adapter '${adapter.name}'`, ...describeAdapter(adapter.config, adapter.hash))
    lines.push(
      trainedOn(adapter.model),
      ...sharedWith(adapter),
      `  format of     ${adapter.version ?? 'adapter-transformers 1'}`,
      ...describeWeights(adapter.weights, withTensors)
    )
  }
  if (peft !== undefined) lines.push('', ...describePeft(peft), ...describeWeights(peft.weights, withTensors))
  if (fusion !== undefined) {
    lines.push('', `fusion '${fusion.name}' over ${quoted(fusion.adapters)}`, describeFusion(fusion.config))
    lines.push(trainedOn(fusion.model), ...describeWeights(fusion.weights, withTensors))
  }
  if (head !== undefined) {
    lines.push('', head.name === null ? 'head of a model class' : `head '${head.name}'`, ...describeHead(head.config))
    if ((adapter ?? peft ?? fusion) === undefined) lines.push(trainedOn(head.model))
    lines.push(...describeWeights(head.weights, withTensors))
  }
  if (model !== undefined) {
    lines.push('', 'model', ...Object.entries(model).map(([key, value]) => `  ${key.padEnd(29)} ${value}`))
  }
  if (wholeModel !== undefined) lines.push(...describeWholeModel(wholeModel))
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

/** Heads' configs in the words of their file, as adapters' configs give them by themselves. */
function forPrograms({ inside, ...inspection }: Inspection): object {
  if (inside !== undefined) return { ...forPrograms(inspection), inside: inside.map(forPrograms) }
  const { head, wholeModel, ...rest } = inspection
  return {
    ...rest,
    ...(head !== undefined && { head: { ...head, config: headFields(head.config) } }),
    ...(wholeModel !== undefined && { wholeModel: wholeModelForPrograms(wholeModel) })
  }
}
