import { existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  adapterNames,
  type CompositionBlock,
  formatComposition,
  parseComposition,
  sameComposition
} from '../config/composition.js'
import {
  finalFusion,
  followAdapters,
  type HeadSetup,
  headOfEach,
  headSetupFromJson,
  headsUnder
} from '../config/head-setup.js'
import { isOwnHead } from '../config/own-head.js'
import { inFile } from '../config/read-json.js'
import { readHeadFolder } from '../exchange/adapter-folder.js'
import { findWeights, headConfigFile, headWeightFiles } from '../exchange/folder-files.js'
import { defaultHead } from '../exchange/static-heads.js'
import { checkAdapterName } from '../exchange/write-folder.js'
import { AdapterError } from '../native/errors.js'
import { headOfRow } from './head-rule.js'
import type { Model } from './model.js'

/** The heads of a setup's folder beside those that lie in its adapters' own. */
export interface SetupHeads {
  /** What answers, as `head_setup` names it, or the head of the fusion that stands last. */
  readonly answering: HeadSetup
  /** Name → folder. */
  readonly folders: ReadonlyMap<string, string>
}

export const noHeads: SetupHeads = { answering: null, folders: new Map() }

interface SetupFolder {
  readonly folder: string
  /** adapter_setup.json, for messages. */
  readonly file: string
  readonly setup: CompositionBlock
  /** Fusion → its folder. */
  readonly fusions: ReadonlyMap<string, string>
}

const operation = 'read the setup folder'

/** What `head_setup` says, and where its heads lie. A fusion's folder may have a head, too: Python loads it with the fusion. */
export function setupHeads(json: unknown, { folder, file, setup, fusions }: SetupFolder): SetupHeads {
  const given = inFile(file, operation, () => headSetupFromJson(json))
  const adapters = adapterNames(setup)
  const folders = new Map<string, string>()
  const ofFusions = new Map<string, string>()
  for (const [fusion, place] of fusions) {
    if (!existsSync(join(place, headConfigFile)) && findWeights(place, headWeightFiles) === undefined) continue
    const name = readHeadFolder(place)?.name ?? fusion
    // A fusion may have an adapter's name: what lies in the folder of both comes with the adapter.
    if (!(adapters.includes(name) && place === join(folder, name))) folders.set(name, place)
    ofFusions.set(fusion, name)
  }
  if (given === true) {
    const name = readHeadFolder(folder)?.name ?? defaultHead
    checkThere(name, folder, file)
    return { answering: name, folders: folders.set(name, folder) }
  }
  for (const name of adapterNames(given)) {
    inFile(file, operation, () => checkAdapterName(name, 'head_setup'))
    checkThere(name, join(folder, name), file)
    // An adapter's folder brings the head of its name.
    if (!adapters.includes(name)) folders.set(name, join(folder, name))
  }
  return { answering: given ?? ofFusions.get(finalFusion(setup) ?? '') ?? null, folders }
}

function checkThere(name: string, place: string, file: string): void {
  if (existsSync(join(place, headConfigFile)) || findWeights(place, headWeightFiles) !== undefined) return
  throw new AdapterError('ERR_FILE_NOT_FOUND', operation, `${file} names the head '${name}', which is not there`, {
    expected: `${headConfigFile} and one of ${Object.values(headWeightFiles).join(', ')} in ${place}`,
    hint: 'Save or download the folder again, or load it without heads (withHead: false).'
  })
}

/** The heads that are to answer; undefined where each row's own does, or none is named. */
export function headsToSet({ answering }: SetupHeads, setup: CompositionBlock, file: string): HeadSetup | undefined {
  const [name, ...others] = adapterNames(answering)
  if (name === undefined || followAdapters(answering, setup)) return undefined
  if (others.length === 0) return name
  if (headOfEach(answering, setup) !== null) return answering
  throw new AdapterError(
    'ERR_UNSUPPORTED',
    operation,
    `${file} has heads ${formatComposition(answering)} over ${formatComposition(setup)}`,
    {
      expected: "one head for all rows, or the setup's own block with a head for each last adapter",
      hint: 'Load it without setActive, and give setActiveAdapters the head that is to answer (head).'
    }
  )
}

/**
 * The heads that answer under a setup: where it is the active one, as they do now; else those of its adapters. None for the
 * network's own, which no folder holds.
 */
export function answeringHeads(model: Model, setup: CompositionBlock): HeadSetup {
  const { activeAdapters: active, heads } = model
  const isActive = active !== null && sameComposition(parseComposition(active), setup)
  const rule = isActive ? model.headChoice.rule : { chosen: undefined, otherwise: null }
  return headsUnder(setup, (last) => {
    const name = headOfRow(rule, heads, last)
    return name !== null && isOwnHead(heads.get(name)) ? null : name
  })
}
