import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import * as check from '../config/check.js'
import {
  adapterNames,
  type CompositionBlock,
  compositionFromJson,
  compositionToJson,
  type Fuse,
  fuseBlocks,
  fusionName,
  parseComposition,
  withFusionNames
} from '../config/composition.js'
import { type HeadSetup, headSetupToJson, headsForEach } from '../config/head-setup.js'
import { pythonJson } from '../config/python-json.js'
import { inFile, readJsonObject } from '../config/read-json.js'
import { fusionConfigFile, headConfigFile, noSetupHere, setupConfigFile } from '../exchange/folder-files.js'
import { readFusionFolder } from '../exchange/fusion-folder.js'
import { warnOfSetup } from '../exchange/library-setup.js'
import { writeSynced } from '../exchange/replace-file.js'
import { folderVersion, makeOutput } from '../exchange/write-folder.js'
import { AdapterError } from '../native/errors.js'
import { outsideScope } from './adapter-setup.js'
import type { LoadAdapterOptions, SaveAdapterOptions } from './exchange.js'
import { saveAdapterFusion } from './fusion-files.js'
import { checkHeads } from './head-choice.js'
import { type LoadedTogether, loadTogether } from './load-together.js'
import type { Model } from './model.js'
import { checkOptions } from './options.js'
import { type AdapterSetup, channelCount, setupNames } from './setup.js'
import { answeringHeads, headsToSet, noHeads, type SetupHeads, setupHeads } from './setup-heads.js'
import { withStandIns } from './stand-in.js'

export interface SaveSetupOptions extends Pick<SaveAdapterOptions, 'format'> {
  /** Also the heads of the adapters' names, each in its adapter's folder. Default true. */
  readonly withHead?: boolean | undefined
  /**
   * The head that answers under the setup, Python's `head_setup`: a name, or a block of names such as `Parallel('a', 'b')`,
   * each for the rows of one child. Default: where the setup is the active one, what answers its rows now; else the heads of
   * its last adapters' names. null, and the default with `withHead: false`: none.
   */
  readonly head?: HeadSetup | undefined
}
export interface LoadSetupOptions extends Pick<LoadAdapterOptions, 'overwriteOk' | 'setActive'> {
  /** Also the folder's heads; with setActive the one that it names answers. Default true. */
  readonly withHead?: boolean | undefined
}

/** A folder for each adapter, fusion and head of the setup, and adapter_setup.json, last: it says that all are there. */
export async function saveAdapterSetup(
  model: Model,
  folder: string,
  setup: Exclude<AdapterSetup, null>,
  options: SaveSetupOptions
): Promise<void> {
  check.checkNonEmptyString('folder', folder)
  checkOptions(options, ['format', 'withHead', 'head'])
  const { format, withHead = true } = options
  const block = parseComposition(setup)
  const names = setupNames(block, model.known, 'setup')
  checkFusionsWhole(model, block, names)
  const asked = options.head === undefined ? undefined : checkHeads(options.head, model.heads)
  const heads = asked === undefined && withHead ? answeringHeads(model, block) : (asked ?? null)
  makeOutput(folder, 'save the setup')
  warnOfSetup(block, model.adapters, model.config)
  for (const name of names) await model.saveAdapter(join(folder, name), name, { format, withHead })
  for (const name of fusionsIn(block)) await saveAdapterFusion(model, join(folder, name), name, { format })
  for (const name of adapterNames(heads)) {
    if (!withHead || !names.includes(name)) await model.saveHead(join(folder, name), name, { format })
  }
  const json = {
    adapter_setup: compositionToJson(block),
    head_setup: headSetupToJson(headsForEach(heads, channelCount(block))),
    version: folderVersion
  }
  writeSynced(join(folder, setupConfigFile), pythonJson(json, { indent: 2 }))
}

/** A fusion loads beside all adapters that it was made for, which a block that names it may leave out. */
function checkFusionsWhole(model: Model, block: CompositionBlock, names: readonly string[]): void {
  for (const name of fusionsIn(block)) {
    const missing = model.adapterFusions.get(name)?.adapters.filter((adapter) => !names.includes(adapter)) ?? []
    if (missing.length === 0) continue
    const problem = `the fusion '${name}' reads ${check.quoted(missing)}, which the setup leaves out`
    throw new AdapterError('ERR_UNSUPPORTED', 'save the setup', problem, {
      hint: `Save the adapters and the fusion one by one, or a setup with all that '${name}' was made for.`
    })
  }
}

/** Loads what the folder's adapter_setup.json names, all of it or nothing; gives the setup. */
export async function loadAdapterSetup(
  model: Model,
  folder: string,
  options: LoadSetupOptions
): Promise<CompositionBlock> {
  checkOptions(options, ['withHead', 'overwriteOk', 'setActive'])
  const { withHead, overwriteOk, setActive = false } = options
  const file = join(check.checkNonEmptyString('folder', folder), setupConfigFile)
  const operation = 'read the setup folder'
  if (!existsSync(file)) throw noSetupHere(folder)
  const json = readJsonObject(file, operation)
  const written = inFile(file, operation, () => compositionFromJson(json['adapter_setup']))
  if (setActive) outsideScope('loadAdapterSetup')
  const setup = withFusionNames(written, (fuse) => nameInFolder(folder, fuse))
  const fusions = new Map(fusionsIn(setup).map((name) => [name, join(folder, name)]))
  const heads = withHead === false ? noHeads : setupHeads(json['head_setup'], { folder, file, setup, fusions })
  const head = setActive ? headsToSet(heads, setup, file) : undefined
  const parts = { folder, setup, fusions, heads, ...(withHead === false && { withHead }) }
  if (overwriteOk === true) await tryReplacing(model, parts)
  else checkFree(model, parts)
  await loadTogether(model, async (loaded) => {
    await loadParts(loaded, parts, { overwriteOk })
    if (setActive) model.setActiveAdapters(setup, { head })
  })
  return setup
}

interface SetupParts {
  readonly folder: string
  readonly setup: CompositionBlock
  /** Name → folder. */
  readonly fusions: ReadonlyMap<string, string>
  readonly heads: SetupHeads
  /** Not true, which would ask for a head in every folder. */
  readonly withHead?: false
}

/** @param under what each adapter, fusion and head is to be called. Default: its own name */
async function loadParts(
  loaded: LoadedTogether,
  { folder, setup, fusions, heads, withHead }: SetupParts,
  { overwriteOk, under = (name) => name }: { overwriteOk?: boolean | undefined; under?: (name: string) => string }
): Promise<void> {
  const names = adapterNames(setup)
  for (const name of names) {
    await loaded.adapter(join(folder, name), { as: under(name), withHead, overwriteOk })
  }
  const adapters = Object.fromEntries(names.map((name) => [name, under(name)]))
  for (const [name, place] of fusions) await loaded.fusion(place, { as: under(name), adapters, overwriteOk })
  for (const [name, place] of heads.folders) await loaded.head(place, { as: under(name), overwriteOk })
}

/** No part has another name to be loaded by, as it has when it is loaded alone. */
function checkFree(model: Model, { folder, setup, fusions, heads, withHead }: SetupParts): void {
  const names = adapterNames(setup)
  const ownHeads = withHead === false ? [] : names.filter((name) => existsSync(join(folder, name, headConfigFile)))
  const taken = [
    ...names.filter((name) => model.adapters.has(name)).map((name) => `adapter '${name}'`),
    ...[...fusions.keys()].filter((name) => model.adapterFusions.has(name)).map((name) => `fusion '${name}'`),
    ...[...ownHeads, ...heads.folders.keys()].filter((name) => model.heads.has(name)).map((name) => `head '${name}'`)
  ]
  if (taken.length === 0) return
  const how = 'pass overwriteOk: true to replace it, or load the parts one by one, each under a name of its own (as)'
  throw check.valueError('loadAdapterSetup', `the ${taken[0]} exists already; ${how}`)
}

/** What is there already goes only when every part has proved to fit, beside it and under another name. */
async function tryReplacing(model: Model, parts: SetupParts): Promise<void> {
  const names = adapterNames(parts.setup)
  const replaced = names.filter((name) => model.adapters.has(name))
  const others = [
    ...[...names, ...parts.heads.folders.keys()].filter((name) => model.heads.has(name)),
    ...[...parts.fusions.keys()].filter((name) => model.adapterFusions.has(name))
  ]
  if (replaced.length + others.length === 0) return
  const held = [model.mergedAdapter, ...[...model.sharedParameters.values()].flat()]
  const fixed = replaced.find((name) => held.includes(name))
  if (fixed !== undefined) {
    throw check.valueError(
      'loadAdapterSetup',
      `'${fixed}' is merged or shares parameters and cannot be replaced; call resetAdapter or unshareParameters first`
    )
  }
  const all = [...names, ...parts.fusions.keys(), ...parts.heads.folders.keys()]
  await withStandIns(all, 'loading', async (under) => {
    await loadTogether(model, async (trial) => {
      await loadParts(trial, parts, { under })
      trial.undo()
    })
  })
}

/** Python's setup forgets the name of a fusion that has one of its own: its folder is then known by its adapters. */
function nameInFolder(folder: string, fuse: Fuse): string | null {
  const name = fusionName(fuse)
  if (fuse.name !== null || existsSync(join(folder, name))) return fuse.name
  const fusions = readdirSync(folder).filter((part) => existsSync(join(folder, part, fusionConfigFile)))
  return fusions.find((part) => readFusionFolder(join(folder, part)).adapters.join(',') === name) ?? null
}

const fusionsIn = (setup: CompositionBlock): string[] => [...new Set(fuseBlocks(setup).map(fusionName))]
