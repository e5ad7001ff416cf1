import * as check from '../config/check.js'
import { Fuse } from '../config/composition.js'
import { checkBaseModel, checkSamePlacement } from '../exchange/base-model.js'
import { folderFormats } from '../exchange/folder-files.js'
import { readFusionFolder } from '../exchange/fusion-folder.js'
import { downloadKeys, resolveFolder } from '../exchange/hub.js'
import { saveFolder } from '../exchange/write-folder.js'
import { nativeCall } from '../native/errors.js'
import { type LoadAdapterOptions, nativeFormat, type SaveAdapterOptions } from './exchange.js'
import { loadTogether } from './load-together.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import { checkKnown } from './setup.js'
import { withStandIns } from './stand-in.js'

export type SaveFusionOptions = Pick<SaveAdapterOptions, 'format'>

export interface LoadFusionOptions extends Omit<LoadAdapterOptions, 'withHead' | 'leaveOut'> {
  /** What the file calls its adapters → what they are called here. Default: the same names. */
  readonly adapters?: Readonly<Record<string, string>> | undefined
}

export async function saveAdapterFusion(
  model: Model,
  folder: string,
  name: string,
  options: SaveFusionOptions
): Promise<void> {
  check.checkNonEmptyString('folder', folder)
  checkOptions(options, ['format'])
  checkKnown('name', name, model.adapterFusions)
  const fusion = model.adapterFusions.get(name)
  if (fusion === undefined) return
  const format = check.checkOneOf('format', options.format ?? 'safetensors', folderFormats)
  const { native } = model
  await saveFolder(folder, {
    model: model.config,
    format,
    fusion: {
      name,
      config: { ...fusion, temperature: nativeCall(() => native.fusionTemperature(name)) },
      writeWeights: (file) => nativeCall(() => native.saveFusion(file, name, nativeFormat(format)))
    }
  })
}

export async function loadAdapterFusion(model: Model, source: string, options: LoadFusionOptions): Promise<string> {
  checkOptions(options, ['as', 'adapters', 'overwriteOk', 'setActive', ...downloadKeys])
  const { as, adapters: renamed = {}, overwriteOk = false, setActive = false, ...hub } = options
  const folder = await resolveFolder(check.checkNonEmptyString('source', source), 'fusion', hub)
  const found = readFusionFolder(folder)
  checkBaseModel(found, model.config)
  checkSamePlacement(found, model.config.exported?.placed ?? null)
  const adapters = found.adapters.map((adapter) => renamed[adapter] ?? adapter)
  const missing = adapters.filter((adapter) => !model.adapters.has(adapter))
  if (missing.length > 0) {
    const message = `no ${check.quoted(missing)} here, which the fusion of ${folder} reads`
    const hint = 'Load or add them before, or name others (adapters: { … }); loadAdapterSetup loads a whole setup'
    throw check.valueError('loadAdapterFusion', `${message}. ${hint}`)
  }
  const name = as ?? found.name
  const { native } = model
  const place = async (under: string) => {
    await loadTogether(model, async (loaded) => {
      model.addAdapterFusion(adapters, found.config, { name: under, overwriteOk: true })
      loaded.came(`fusion '${under}'`, () => model.deleteAdapterFusion(under))
      await nativeCall(() => native.loadFusion(found.weightsFile, under, found.name))
      nativeCall(() => native.setFusionTemperature(under, found.config.temperature ? found.temperature : 1))
    })
  }
  if (model.adapterFusions.has(name)) {
    if (!overwriteOk) {
      const message = `the fusion '${name}' exists already; pass overwriteOk: true to replace it, or another name with as`
      throw check.valueError('loadAdapterFusion', message)
    }
    // What is there goes only when the new one has proved to fit.
    await withStandIns([name], 'loading', async (other) => {
      await place(other(name))
      model.deleteAdapterFusion(other(name))
    })
  }
  await place(name)
  if (setActive) model.setActiveAdapters(Fuse(...adapters, { name }))
  return name
}
