import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type ProblemType, problemTypes } from '../config/peft-config.js'
import { adapterConfigFile, fusionConfigFile, headConfigFile } from '../exchange/folder-files.js'
import { defaultHead } from '../exchange/static-heads.js'
import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'
import type { AdapterSource } from './adapters.js'
import { choiceOption, countOption, fromOptions, required, usageError } from './arguments.js'
import { interruptions } from './interruptions.js'

/** What every command that loads a model takes. */
export const modelOptions = {
  model: { type: 'string', short: 'm' },
  tokenizer: { type: 'string' },
  placement: { type: 'string' },
  device: { type: 'string' },
  trunk: { type: 'string', default: 'float32' },
  threads: { type: 'string' },
  offline: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false }
} as const

export const modelUsage = `  --device DEVICE         cpu, cuda, cuda:1, or auto. Default: what TORCH_ADAPTERS_DEVICE says, or cpu
  --trunk TYPE            of the base model's matrices: float32, bfloat16, which halves their memory, or auto, the one
                          that a short measurement finds faster here. Default float32
  --tokenizer FOLDER      of a MODEL that is an archive of torch.export: where its tokenizer lies. Default: inside of it
  --placement PLACES      of such a MODEL: where adapters stand, auto, or modules by patterns, one a layer, as JSON such
                          as '{"attention": "h.*.self_attention", "feedForward": "h.*.mlp"}'. Default auto
  --threads N             threads for the CPU's work. Default: one a core
  --offline               take what a hub id names from the cache alone`

export interface ModelValues {
  readonly model?: string | undefined
  readonly tokenizer?: string | undefined
  readonly placement?: string | undefined
  readonly device?: string | undefined
  readonly trunk: string
  readonly threads?: string | undefined
  readonly offline: boolean
}

/** Commands load the library only when they have work: --help answers at once. */
export async function loadModel(values: ModelValues, seed?: number, signal?: AbortSignal): Promise<Model> {
  const source = required('model', values.model)
  const threads = countOption('threads', values.threads)
  const { checkDevice, defaultDevice } = await import('../model/options.js')
  const device = fromOptions(() => checkDevice(values.device ?? defaultDevice()))
  const { describeTrunk, trunkOptions } = await import('../model/trunk.js')
  const trunk = choiceOption('trunk', values.trunk, trunkOptions)
  const { refuseUnfinished } = await import('./run-folder.js')
  refuseUnfinished('--model', source)
  const { AutoModel } = await import('../model/auto-model.js')
  if (threads !== undefined) {
    const { setNumThreads } = await import('../model/threads.js')
    fromOptions(() => setNumThreads(threads))
  }
  const { loadArchive } = await import('./archive-model.js')
  const exported = await loadArchive(source, values, { device, seed })
  if (exported !== undefined) return exported
  const { withDownloads } = await import('./download-progress.js')
  const options = { device, trunk, seed, offline: values.offline || undefined, signal }
  const model = await withDownloads((onProgress) => AutoModel.fromPretrained(source, { ...options, onProgress }))
  if (trunk === 'auto') process.stderr.write(`${describeTrunk(model)}\n`)
  return model
}

export const problemUsage = `  --problem-type TYPE     how labels count in a PEFT adapter's head, where its folder does not say it:
                          single_label_classification, which is the default, or multi_label_classification`

/** PEFT has no field for it; AdapterHub's folders say it, and so do those of PEFT's that this library wrote. */
export async function problemOption(
  given: string | undefined,
  adapters: readonly Pick<AdapterSource, 'folder'>[]
): Promise<ProblemType | undefined> {
  if (given === undefined) return undefined
  const { isPeftFolder } = await import('../exchange/peft-folder.js')
  const problem = choiceOption('problem-type', given, problemTypes)
  if (adapters.some(({ folder }) => isPeftFolder(folder))) return problem
  throw usageError('--problem-type is for an --adapter of PEFT, and there is none: the other folders say it')
}

/** Loads an adapter with the head that it may have. */
export async function loadNamed(
  model: Model,
  { folder, name }: AdapterSource,
  problemType: ProblemType | undefined
): Promise<void> {
  const { isPeftFolder } = await import('../exchange/peft-folder.js')
  const { refuseLoaded } = await import('./adapters.js')
  refuseLoaded(model, { folder, name })
  await model.loadAdapter(folder, { as: name, problemType: isPeftFolder(folder) ? problemType : undefined })
}

/** Loads an adapter with its head, or below that of the network's class. Gives the head that answers. */
export async function loadWithHead(
  model: Model,
  source: AdapterSource,
  problemType: ProblemType | undefined
): Promise<string> {
  await loadNamed(model, source, problemType)
  const { folder, name } = source
  if (model.heads.has(name)) return name
  const { answersItself } = await import('./own-head.js')
  if (answersItself(model)) return defaultHead
  throw new AdapterError('ERR_NO_HEAD', 'load the adapter', `${folder} has no head, so it cannot answer`, {
    hint: 'Save it together with its head.'
  })
}

export const headUsage = `  --head HEAD             instead of --adapter, or to answer above one: folder or hub id of a head alone, as
                          train --tune head writes it. Without either, what MODEL's folder has: a head, as
                          train --tune full writes it, that of a Hugging Face class, or what was active when
                          Model.save wrote it`

/** A head alone. One that was trained with an adapter would answer what it never saw. */
export async function loadHeadAlone(model: Model, source: string, offline: boolean | undefined): Promise<string> {
  const { folderOf } = await import('./download-progress.js')
  const folder = await folderOf(source, 'head', offline)
  const { refuseUnfinished } = await import('./run-folder.js')
  refuseUnfinished('--head', folder)
  // In place of one of its name that came with the model or with an adapter: it was asked for.
  const holds = (file: string) => existsSync(join(folder, file))
  if (holds(adapterConfigFile))
    throw usageError(`--head: expected a head alone, got ${source}, which holds an adapter: give it as --adapter`)
  if (holds(fusionConfigFile))
    throw usageError(`--head: expected a head alone, got ${source}, which holds a fusion: give its setup as --setup`)
  return await model.loadHead(folder, { overwriteOk: true })
}

/** Where the head that answers comes from: a folder of it alone, the adapters' own folders, or what the model comes with. */
export type HeadSource = { readonly folder: string } | 'adapters' | 'model'

export function headSource(adapters: readonly string[], head: string | undefined, model: string): HeadSource {
  if (head !== undefined) {
    const [, second] = adapters
    if (second !== undefined)
      throw usageError(`--head: expected at most one --adapter below it, got ${adapters.join(' and ')}`)
    return { folder: head }
  }
  if (adapters.length > 0) return 'adapters'
  return existsSync(join(model, headConfigFile)) ? { folder: model } : 'model'
}

/**
 * Ctrl-C ends the work in good order; the second one ends the process. What comes before such work, such as reading rows, it
 * ends at once: see main.ts.
 */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | 'interrupted'> {
  const controller = new AbortController()
  const interrupt = () => controller.abort()
  const signals = interruptions()
  for (const signal of signals) process.once(signal, interrupt)
  try {
    return await work(controller.signal)
  } catch (error) {
    if (controller.signal.aborted) return 'interrupted'
    throw error
  } finally {
    for (const signal of signals) process.off(signal, interrupt)
  }
}
