import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type CompositionBlock, compositionFromJson, formatComposition } from '../config/composition.js'
import { type HeadSetup, headSetupFromJson } from '../config/head-setup.js'
import { inFile, readJsonObject } from '../config/read-json.js'
import { setupConfigFile } from '../exchange/folder-files.js'

export interface SetupSummary {
  readonly adapters: CompositionBlock
  /** true: the folder's own, of a class with one head. */
  readonly head: HeadSetup | true
}

/** How the adapters of a setup's folder stand together, and which head answers. */
export function setupPart(path: string): { readonly setup?: SetupSummary } {
  const file = join(path, setupConfigFile)
  if (!existsSync(file)) return {}
  const operation = 'read the setup folder'
  const json = readJsonObject(file, operation)
  const setup = inFile(file, operation, () => ({
    adapters: compositionFromJson(json['adapter_setup']),
    head: headSetupFromJson(json['head_setup'])
  }))
  return { setup }
}

export function describeSetup({ adapters, head }: SetupSummary): string[] {
  const answers = head === true ? ['  head          of a model class'] : [`  head          ${formatComposition(head)}`]
  return [`setup ${formatComposition(adapters)}`, ...(head === null ? [] : answers)]
}
