import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { bottleneckFloatKeys } from '../config/bottleneck-config.js'
import { pythonJson } from '../config/python-json.js'
import { fileError, readJsonObject } from '../config/read-json.js'
import { readAdapterFolder } from '../exchange/adapter-folder.js'
import {
  adapterConfigFile,
  adapterWeightFiles,
  type FolderFormat,
  findWeights,
  folderFormats,
  headConfigFile,
  headWeightFiles
} from '../exchange/folder-files.js'
import { loadAddon } from '../native/addon.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { KeyDialect } from '../native/types.js'
import { choiceOption, exitStatus, parseCommand, usageError } from './arguments.js'

export const summary = 'rewrite an adapter or a file of weights in another format or dialect'

const usage = `Usage: torch-adapters convert SOURCE TARGET [--format FORMAT] [--dialect DIALECT] [--json]

SOURCE is an adapter folder (its head comes along) or a file of weights; TARGET a new folder or file.
Exit status: 0 done, 1 failed, 2 called in a wrong way.

  --format FORMAT    safetensors, bin or pt (both PyTorch's). Default: by TARGET's name, for folders safetensors
  --dialect DIALECT  adapterhub (adapter_down.0.weight, what Python's adapters reads) or plain (down_project.weight).
                     Default adapterhub
  --force            replace what TARGET holds
  --json             one JSON object: the files written
  --help             this text
`

const dialects = ['adapterhub', 'plain'] as const

interface Job {
  readonly source: string
  readonly target: string
  readonly format: FolderFormat
  readonly dialect: KeyDialect
}

async function rewrite(source: string, target: string, { format, dialect }: Job): Promise<void> {
  const addon = loadAddon()
  await nativeCall(() =>
    addon.convertWeights(source, target, format === 'safetensors' ? 'safetensors' : 'bin', dialect)
  )
}

/** All files are made beside TARGET and then moved there, so that a failed conversion leaves nothing. */
async function convertFolder(job: Job): Promise<string[]> {
  const { source, target, format } = job
  const adapter = readAdapterFolder(source, false)
  mkdirSync(dirname(target), { recursive: true })
  const stage = mkdtempSync(join(dirname(target), '.converting-'))
  try {
    const files = [adapterWeightFiles[format], adapterConfigFile]
    await rewrite(adapter.weightsFile, join(stage, adapterWeightFiles[format]), job)
    writeFileSync(join(stage, adapterConfigFile), modernConfig(source))
    const head = findWeights(source, headWeightFiles)
    if (head !== undefined && existsSync(join(source, headConfigFile))) {
      files.push(headWeightFiles[format], headConfigFile)
      await rewrite(head.file, join(stage, headWeightFiles[format]), job)
      copyFileSync(join(source, headConfigFile), join(stage, headConfigFile))
    }
    mkdirSync(target, { recursive: true })
    for (const file of files) renameSync(join(stage, file), join(target, file))
    return files.map((file) => join(target, file))
  } catch (error) {
    throw error instanceof Error && 'syscall' in error ? fileError(target, 'write the folder', error) : error
  } finally {
    rmSync(stage, { recursive: true, force: true })
  }
}

/** The keys are written in today's names, so a config without a version gets today's words and a version. */
function modernConfig(source: string): string {
  const json = readJsonObject(join(source, adapterConfigFile), 'read the adapter folder')
  const { config } = readAdapterFolder(source, false)
  const { type: _, ...rest } = json
  const modern = 'version' in json ? json : { ...rest, config: config.toJSON(), version: 'adapters.1.2.0' }
  return pythonJson(modern, { indent: 2, floatKeys: bottleneckFloatKeys })
}

async function convertFile(job: Job): Promise<string[]> {
  mkdirSync(dirname(job.target), { recursive: true })
  await rewrite(job.source, job.target, job)
  return [job.target]
}

function formatOf(target: string, isFolder: boolean): FolderFormat {
  if (isFolder || target.endsWith('.safetensors')) return 'safetensors'
  return target.endsWith('.pt') ? 'pt' : 'bin'
}

function checkTarget(target: string, isFolder: boolean, force: boolean): void {
  if (!existsSync(target)) return
  const isThere = statSync(target).isDirectory() ? existsSync(join(target, adapterConfigFile)) : true
  if (statSync(target).isDirectory() !== isFolder) {
    throw usageError(`SOURCE is a ${isFolder ? 'folder' : 'file'} and TARGET is not`)
  }
  if (isThere && !force) {
    throw new AdapterError('ERR_FILE_EXISTS', '', `${basename(target)} exists already`, {
      hint: 'Give another TARGET, or --force to replace it.'
    })
  }
}

export async function run(argv: string[]): Promise<number> {
  const { values, operands } = parseCommand(
    argv,
    {
      format: { type: 'string' },
      dialect: { type: 'string', default: 'adapterhub' },
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
  if (!existsSync(source)) {
    throw new AdapterError('ERR_FILE_NOT_FOUND', '', `${source} does not exist`, { hint: 'Check the path.' })
  }
  const isFolder = statSync(source).isDirectory()
  const dialect = choiceOption('dialect', values.dialect, dialects)
  const format = choiceOption('format', values.format ?? formatOf(target, isFolder), folderFormats)
  checkTarget(target, isFolder, values.force)
  const job = { source, target, format, dialect }
  const files = await (isFolder ? convertFolder(job) : convertFile(job))
  process.stdout.write(
    values.json ? `${JSON.stringify({ format, dialect, files }, null, 2)}\n` : `${files.join('\n')}\n`
  )
  return exitStatus.done
}
