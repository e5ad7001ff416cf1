import * as check from '../config/check.js'
import type { ProblemType } from '../config/peft-config.js'
import { readHeadFolder } from '../exchange/adapter-folder.js'
import { adapterConfigFile, type FolderFormat, peftWeightFiles } from '../exchange/folder-files.js'
import { peftAdapterConfig } from '../exchange/peft-adapter.js'
import { checkPeftBase } from '../exchange/peft-base.js'
import { readPeftFolder } from '../exchange/peft-folder.js'
import { headModules, peftHead } from '../exchange/peft-head.js'
import { peftHeadPlan, peftJson } from '../exchange/peft-write.js'
import { checkAdapterName, saveParts } from '../exchange/write-folder.js'
import { nativeCall } from '../native/errors.js'
import type { FoundAdapter } from './exchange.js'
import type { Model } from './model.js'

/** What a folder of PEFT's holds, as parts of this model. @param source what the user called the folder */
export async function readPeftAdapter(
  model: Model,
  folder: string,
  source: string,
  { withHead, problemType }: { readonly withHead: boolean; readonly problemType?: ProblemType | undefined }
): Promise<FoundAdapter> {
  const found = await readPeftFolder(folder, source)
  checkPeftBase(found, model.config)
  const config = peftAdapterConfig(found, model.config)
  // A head that PEFT cannot hold stands beside it, in files of its own.
  const own = withHead ? peftHead(found, model.config, problemType) : null
  if (problemType !== undefined && own === null) {
    throw check.valueError('problemType', 'no head is loaded of which the folder does not say it; leave it out')
  }
  const head = own ?? (withHead ? readHeadFolder(folder) : null)
  const aside = headModules(found)
  return {
    name: found.name,
    config,
    head,
    load: (name) => nativeCall(() => model.native.loadPeftAdapter(found.weightsFile, name, aside))
  }
}

export async function savePeftAdapter(
  model: Model,
  folder: string,
  name: string,
  { format, withHead }: { readonly format: FolderFormat; readonly withHead: boolean }
): Promise<void> {
  if (format === 'pt') throw check.valueError('format', "PEFT reads 'safetensors' and 'bin', not 'pt'")
  checkAdapterName(name)
  const config = model.adapters.get(name)
  const head = withHead ? model.heads.get(name) : undefined
  if (config === undefined) return
  const plan = head === undefined ? null : peftHeadPlan(name, head, model.config)
  const json = peftJson(config, model.config, plan)
  const { native } = model
  await saveParts(folder, 'save the PEFT adapter', [
    {
      weights: peftWeightFiles[format],
      config: adapterConfigFile,
      json,
      writeWeights: (file) => nativeCall(() => native.savePeftAdapter(file, name, format, plan?.layers ?? null))
    }
  ])
}
