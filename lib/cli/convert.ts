import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync
} from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { adapterFloatKeys } from '../config/adapter-config.js'
import { pythonJson } from '../config/python-json.js'
import { fileError, readJsonObject } from '../config/read-json.js'
import { type AdapterFolder, readAdapterFolder } from '../exchange/adapter-folder.js'
import {
  adapterConfigFile,
  adapterWeightFiles,
  type FolderFormat,
  findWeights,
  folderFormats,
  fusionConfigFile,
  fusionWeightFiles,
  headConfigFile,
  headWeightFiles,
  peftWeightFiles
} from '../exchange/folder-files.js'
import { readFusionFolder } from '../exchange/fusion-folder.js'
import { isPeftFolder, readPeftFolder } from '../exchange/peft-folder.js'
import { checkAdapterName, headFloatKeys } from '../exchange/write-folder.js'
import { loadAddon } from '../native/addon.js'
import { nativeCall } from '../native/errors.js'
import { makeFolder } from '../native/make-folder.js'
import type { KeyDialect } from '../native/types.js'
import { choiceOption, exitStatus, fromOptions, parseCommand, required, usageError } from './arguments.js'
import { convertLibrary } from './convert-library.js'
import { problemOption } from './model-options.js'

export const summary = 'rewrite an adapter, a head or a file of weights: format, dialect, name, library'

const usage = `Usage: torch-adapters convert SOURCE TARGET [--format FORMAT] [--dialect DIALECT] [--name NAME]
       torch-adapters convert SOURCE TARGET --library LIBRARY --model MODEL [OPTIONS]

SOURCE is the folder of an adapter (its head comes along; a folder of PEFT's stays one), of a fusion or of a head, or a
file of weights; TARGET a new folder or file. With --library an adapter's folder becomes one of the other Python
library, where that one computes the same.
Exit status: 0 done, 1 failed, 2 called in a wrong way.

  --format FORMAT    safetensors, bin or pt (both PyTorch's). Default: by a file's name, for folders safetensors
  --dialect DIALECT  adapterhub (adapter_down.0.weight, what Python's adapters reads) or plain (down_project.weight).
                     Default adapterhub
  --name NAME        the new name of the adapter and its head, in the configs and in the names of tensors. Default: the
                     old one. Not of a fusion, which its setup names, nor of PEFT's folders, which hold no name
  --library LIBRARY  adapters (AdapterHub) or peft: the one that is to load TARGET
  --model MODEL      with --library: the base model's folder, or its config.json, which tells where its modules are
                     (a head with tied words, or with what stood at a pooler, wants the weights, too), or an archive of
                     torch.export
  --placement P      with an archive: where adapters stand, as it was when this one learned (auto, or JSON)
  --no-head          with --library: the adapter alone
  --problem-type T   with --library adapters, where the folder does not say how its head's labels count:
                     single_label_classification, which is the default, or multi_label_classification
  --force            replace what TARGET holds
  --json             one JSON object: the files written
  --help             this text
`

const dialects = ['adapterhub', 'plain'] as const
const libraries = ['adapters', 'peft'] as const

const folderFiles = [
  ...[adapterConfigFile, headConfigFile, fusionConfigFile],
  ...[adapterWeightFiles, headWeightFiles, fusionWeightFiles].flatMap((files) => Object.values(files)),
  ...Object.values(peftWeightFiles)
]

interface Job {
  readonly source: string
  readonly target: string
  readonly format: FolderFormat
  readonly dialect: KeyDialect
  /** Null: the old one stays. */
  readonly name: string | null
}

/** `from`: the name that the config beside the file says. */
async function rewrite(source: string, target: string, job: Job, from: string | null = null): Promise<void> {
  const { format, dialect, name } = job
  const addon = loadAddon()
  await nativeCall(() =>
    addon.convertWeights(source, target, format === 'safetensors' ? 'safetensors' : 'bin', dialect, name, from)
  )
}

/** All files are made beside TARGET and then moved there, so that a failed conversion leaves nothing. */
async function convertFolder(job: Job): Promise<string[]> {
  const { source, target } = job
  const holdsHead = existsSync(join(source, headConfigFile)) && findWeights(source, headWeightFiles) !== undefined
  const holdsFusion = existsSync(join(source, fusionConfigFile))
  const holdsAdapter = !(holdsHead || holdsFusion) || existsSync(join(source, adapterConfigFile))
  const isPeft = holdsAdapter && isPeftFolder(source)
  const adapter = holdsAdapter && !isPeft ? readAdapterFolder(source, false) : null
  const stage = stageBeside(target)
  try {
    const files = [
      ...(adapter === null ? [] : await convertAdapter(job, adapter, stage)),
      ...(isPeft ? await convertPeft(job, stage) : []),
      ...(holdsFusion ? await convertFusion(job, stage) : []),
      ...(holdsHead ? await convertHead(job, stage) : [])
    ]
    makeFolder(target)
    for (const file of files) renameSync(join(stage, file), join(target, file))
    // With --force: what is left of the old adapter or head would be read instead of the new one, or with it.
    for (const file of folderFiles) if (!files.includes(file)) rmSync(join(target, file), { force: true })
    return files.map((file) => join(target, file))
  } catch (error) {
    throw error instanceof Error && 'syscall' in error ? fileError(target, 'write the folder', error) : error
  } finally {
    rmSync(stage, { recursive: true, force: true })
  }
}

function stageBeside(target: string): string {
  const parent = dirname(target)
  try {
    makeFolder(parent)
    return mkdtempSync(join(parent, '.converting-'))
  } catch (error) {
    throw fileError(parent, 'write the folder', error)
  }
}

async function convertAdapter(job: Job, adapter: AdapterFolder, stage: string): Promise<string[]> {
  const weights = adapterWeightFiles[job.format]
  await rewrite(adapter.weightsFile, join(stage, weights), job, adapter.name)
  writeFileSync(join(stage, adapterConfigFile), modernConfig(adapter, job.name))
  return [weights, adapterConfigFile]
}

/** PEFT's own names stay, and the folder has no name in it. */
async function convertPeft(job: Job, stage: string): Promise<string[]> {
  const { format, name, source } = job
  if (format === 'pt') throw usageError("--format: expected safetensors or bin, which PEFT reads, got 'pt'")
  if (name !== null) throw usageError('--name: PEFT keeps no name in its folders; leave it out')
  if (job.dialect === 'plain') throw usageError('--dialect: PEFT has names of its own; leave it out')
  const weights = peftWeightFiles[format]
  await rewrite((await readPeftFolder(source)).weightsFile, join(stage, weights), job)
  copyFileSync(join(source, adapterConfigFile), join(stage, adapterConfigFile))
  return [weights, adapterConfigFile]
}

/** Its setup names it, and the adapters that it reads have folders of their own. */
async function convertFusion(job: Job, stage: string): Promise<string[]> {
  if (job.name !== null) throw usageError('--name: a setup names its fusion; leave it out')
  const weights = fusionWeightFiles[job.format]
  await rewrite(readFusionFolder(job.source).weightsFile, join(stage, weights), job)
  copyFileSync(join(job.source, fusionConfigFile), join(stage, fusionConfigFile))
  return [weights, fusionConfigFile]
}

/** The head of a model class such as BertForSequenceClassification has no name that could change. */
async function convertHead(job: Job, stage: string): Promise<string[]> {
  const config = join(job.source, headConfigFile)
  const json = readJsonObject(config, 'read the head folder')
  const from = typeof json['name'] === 'string' ? json['name'] : null
  const name = from === null ? null : job.name
  const weights = headWeightFiles[job.format]
  await rewrite(findWeights(job.source, headWeightFiles)?.file ?? '', join(stage, weights), { ...job, name }, from)
  const renamed = () => pythonJson({ ...json, name }, { indent: 2, floatKeys: headFloatKeys })
  writeFileSync(join(stage, headConfigFile), name === null ? readFileSync(config) : renamed())
  return [weights, headConfigFile]
}

/** The keys are written in today's names, so a config without a version gets today's words and a version. */
function modernConfig({ folder, config }: AdapterFolder, name: string | null): string {
  const json = readJsonObject(join(folder, adapterConfigFile), 'read the adapter folder')
  const { type: _, ...rest } = json
  const modern = 'version' in json ? json : { ...rest, config: config.toJSON(), version: 'adapters.1.2.0' }
  return pythonJson({ ...modern, ...(name === null ? {} : { name }) }, { indent: 2, floatKeys: adapterFloatKeys })
}

async function convertFile(job: Job): Promise<string[]> {
  makeFolder(dirname(job.target))
  await rewrite(job.source, job.target, job)
  return [job.target]
}

const endings: Readonly<Record<string, FolderFormat>> = { '.safetensors': 'safetensors', '.bin': 'bin', '.pt': 'pt' }

/** `given`: that of --format. Whoever reads a file of weights goes by its name. */
function formatOf(target: string, isFolder: boolean, given: FolderFormat | undefined): FolderFormat {
  if (isFolder) return given ?? 'safetensors'
  const named = endings[extname(target)]
  const pickled = given === 'bin' || given === 'pt'
  if (given !== undefined && (named === undefined || pickled === (named !== 'safetensors'))) return given
  if (given === undefined && named !== undefined) return named
  const expected =
    given === undefined ? 'a name that ends in .safetensors, .bin or .pt, or --format' : `one for ${given}`
  throw usageError(`TARGET: expected ${expected}, got ${target}`)
}

function checkTarget(target: string, isFolder: boolean, force: boolean): void {
  if (!existsSync(target)) return
  const configs = [adapterConfigFile, headConfigFile, fusionConfigFile]
  const isThere = !statSync(target).isDirectory() || configs.some((file) => existsSync(join(target, file)))
  if (statSync(target).isDirectory() !== isFolder) {
    throw usageError(`SOURCE is a ${isFolder ? 'folder' : 'file'} and TARGET is not`)
  }
  if (isThere && !force)
    throw usageError(`TARGET: ${target} exists already: give another one, or --force to replace it`)
}

export async function run(argv: string[]): Promise<number> {
  const { values, operands } = parseCommand(
    argv,
    {
      format: { type: 'string' },
      dialect: { type: 'string', default: 'adapterhub' },
      name: { type: 'string' },
      library: { type: 'string' },
      model: { type: 'string' },
      placement: { type: 'string' },
      head: { type: 'boolean', default: true },
      'problem-type': { type: 'string' },
      force: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false }
    },
    ['SOURCE', 'TARGET']
  )
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  const [source = '', target = ''] = operands
  if (!existsSync(source)) throw usageError(`SOURCE: ${source} does not exist`)
  const isFolder = statSync(source).isDirectory()
  const dialect = choiceOption('dialect', values.dialect, dialects)
  const asked = values.format === undefined ? undefined : choiceOption('format', values.format, folderFormats)
  const format = formatOf(target, isFolder, asked)
  const name = values.name === undefined ? null : fromOptions(() => checkAdapterName(values.name))
  if (isFolder && existsSync(join(source, 'config.json'))) {
    const expected = 'the folder of an adapter or a head, or one file of weights'
    throw usageError(`SOURCE: expected ${expected}, got ${source}, which holds a model; give the file in it`)
  }
  const forLibrary = values.head
    ? (['model', 'placement', 'problem-type'] as const).find((one) => values[one] !== undefined)
    : 'no-head'
  if (values.library === undefined && forLibrary !== undefined) {
    throw usageError(`--${forLibrary} is for --library; give both, or leave it out`)
  }
  checkTarget(target, isFolder, values.force)
  const job = { source, target, format, dialect, name }
  if (values.library !== undefined) {
    const library = choiceOption('library', values.library, libraries)
    if (!isFolder) throw usageError(`SOURCE: expected the folder of an adapter, got the file ${source}`)
    const model = required('model', values.model)
    const problemType = await problemOption(values['problem-type'], [{ folder: source }])
    const { placement } = values
    await convertLibrary({ ...job, library, model, placement, withHead: values.head, problemType })
    printFiles(
      job,
      folderFiles.map((file) => join(target, file)).filter((file) => existsSync(file)),
      values.json
    )
    return exitStatus.done
  }
  const files = await (isFolder ? convertFolder(job) : convertFile(job))
  printFiles(job, files, values.json)
  return exitStatus.done
}

function printFiles({ format, dialect, name }: Job, files: readonly string[], asJson: boolean): void {
  process.stdout.write(
    asJson
      ? `${JSON.stringify({ format, dialect, ...(name !== null && { name }), files }, null, 2)}\n`
      : `${files.join('\n')}\n`
  )
}
