import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { headConfigFromJson } from '../../../lib/config/head-config.js'
import { type AdapterSetup, AutoModel, type Model } from '../../../lib/index.js'
import { frozenDecoderBiases } from '../../../lib/model/trainable.js'
import { fixtures, type Group, type Setting } from './fixtures.js'

/** The model of a setting with its adapter, head and weights; what the setting trains is trainable. */
export async function open(setting: Setting, group: Group<unknown>): Promise<Model> {
  const model = await load(setting)
  const { adapter, head, train } = setting
  if (adapter) model.addAdapter(adapter.name, adapter.config)
  if (head) model.addHead(head.name, headConfigFromJson(head.config))
  if (setting.weights) model.loadStateDict(group.tensors(setting.weights))
  if (adapter) trainWhole(model, adapter.name)
  if (head && train === 'head') model.trainHead(head.name)
  if (train === 'full') model.trainAll()
  return model
}

/** As trainAdapter, and the bias of a tied decoder, whose gradient the fixtures have, too. */
export function trainWhole(model: Model, setup: Exclude<AdapterSetup, null>): void {
  model.trainAdapter(setup)
  const trains = model.namedParameters().flatMap(({ name, trainable }) => (trainable ? [name] : []))
  const { activeHead, heads } = model
  const all = [...trains, ...(activeHead === null ? [] : frozenDecoderBiases([activeHead], heads))]
  model.freeze((name) => !all.includes(name))
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
