import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { headConfigFromJson, isTied } from '../../../lib/config/head-config.js'
import { AutoModel, type Model } from '../../../lib/index.js'
import { fixtures, type Group, type Setting } from './fixtures.js'

/** The model of a setting with its adapter, head and weights; what the setting trains is trainable. */
export async function open(setting: Setting, group: Group<unknown>): Promise<Model> {
  const model = await load(setting)
  const { adapter, head, train } = setting
  if (adapter) model.addAdapter(adapter.name, adapter.config)
  const headConfig = head && headConfigFromJson(head.config)
  if (head && headConfig) model.addHead(head.name, headConfig)
  if (setting.weights) model.loadStateDict(group.tensors(setting.weights))
  if (adapter) model.trainAdapter(adapter.name)
  // The cases have the gradient of a tied decoder's bias, too, which trainAdapter freezes.
  if (adapter && headConfig && isTied(headConfig)) model.freezeBaseModel()
  if (head && train === 'head') model.trainHead(head.name)
  if (train === 'full') model.trainAll()
  return model
}

async function load({ model, configOverrides }: Setting): Promise<Model> {
  const source = join(fixtures, 'models', model)
  if (!configOverrides) return AutoModel.fromPretrained(source)
  const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
  try {
    cpSync(source, folder, { recursive: true })
    const config = { ...JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')), ...configOverrides }
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
    return await AutoModel.fromPretrained(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
