import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import * as check from '../config/check.js'
import { some } from '../config/counted.js'
import { type ModelConfig, modelConfigFromJson, nativeModelConfig } from '../config/model-config.js'
import { inFile, readJsonObject } from '../config/read-json.js'
import { TextTokenizer } from '../data/tokenizer.js'
import { hasTokenizer } from '../data/tokenizer-files.js'
import { noModelHere, weightsSource } from '../exchange/folder-files.js'
import { downloadKeys, resolveFolder } from '../exchange/hub.js'
import { loadAddon } from '../native/addon.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { LoadReport } from '../native/types.js'
import { type ExportedOptions, loadExported } from './exported.js'
import { Model } from './model.js'
import { checkDevice, checkOptions, type Device, defaultDevice, type LoadOptions } from './options.js'
import { isOfPooler, notePooler } from './random-pooler.js'
import { readSurgery } from './surgery-record.js'
import { chooseTrunk } from './trunk.js'
import { loadBuiltIn } from './whole.js'

const loadKeys = ['device', 'trunk', 'seed', 'withHead', ...downloadKeys]

export const AutoModel = Object.freeze({
  /**
   * Loads a Hugging Face folder or hub id: config.json, the weights (memory-mapped), and the tokenizer if its files are
   * there. So are the adapters, fusions and heads that stand in it, and under the name 'default' the head of a class such as
   * BertForQuestionAnswering or GPT2LMHeadModel.
   */
  async fromPretrained(source: string, options: LoadOptions = {}): Promise<Model> {
    checkOptions(options, loadKeys)
    const { device, trunk, seed, withHead = true, ...hub } = options
    // Without a libtorch nothing is fetched.
    loadAddon()
    const folder = await resolveFolder(check.checkNonEmptyString('source', source), 'model', hub)
    const file = join(folder, 'config.json')
    if (!existsSync(file)) throw noModelHere(folder)
    const json = readJsonObject(file, 'load the model')
    const tokenizer = tokenizerIn(folder)
    const config = inFile(file, 'load the model', () => modelConfigFromJson({ _name_or_path: source, ...json }, source))
    const model = await make(config, { device, trunk, seed }, tokenizer, folder)
    try {
      // A folder of a model after surgery: its weights have the names that the same surgery gives here.
      for (const replaced of readSurgery(folder)) model.repeatSurgery(replaced, weightsSource(folder))
      const report = await readWeights(model, folder)
      if (report.missing.length > 0)
        await nativeCall(() => model.native.initWeights(check.checkInteger('seed', seed ?? 42, 0)))
      if (withHead) await loadBuiltIn(model, folder, json, report)
    } catch (error) {
      model.dispose()
      throw error
    }
    return model
  },

  /** Random weights, as Hugging Face initialises them. `config`: the fields of a config.json. */
  async fromConfig(
    config: object,
    options: MakeOptions & { readonly tokenizer?: TextTokenizer | undefined } = {}
  ): Promise<Model> {
    checkOptions(options, ['device', 'trunk', 'seed', 'tokenizer'])
    const fields = check.checkObject('config', config)
    const model = await make(modelConfigFromJson(fields), options, options.tokenizer, undefined)
    await nativeCall(() => model.native.initWeights(check.checkInteger('seed', options.seed ?? 42, 0)))
    return model
  },

  /**
   * Any network that `torch.export` can write: a `.pt2` archive of torch-adapters-export (or of torch.export.save, torch
   * 2.9 or later), memory-mapped. Adapters stand where its graph shows residual sub-layers (`explainPlacement`), LoRA and its
   * kin at Linears of attention and feed-forward, surgery at every module that takes and gives one value a token.
   */
  async fromExported(path: string, options: ExportedOptions = {}): Promise<Model> {
    const file = check.checkNonEmptyString('path', path)
    const found = statSync(file, { throwIfNoEntry: false })
    const expected = 'an archive that torch-adapters-export wrote, such as model.pt2'
    if (found === undefined)
      throw new AdapterError('ERR_FILE_NOT_FOUND', 'load the exported model', `the file ${file} does not exist`, {
        expected
      })
    if (found.isDirectory()) {
      throw new AdapterError('ERR_FILE_IO', 'load the exported model', `${file} is a folder`, {
        expected,
        hint:
          'AutoModel.fromPretrained loads the folder of a model that this library knows by itself; of any other ' +
          `torch-adapters-export ${file} model.pt2 makes an archive.`
      })
    }
    const seed = check.checkInteger('seed', options.seed ?? 42, 0)
    const addon = loadAddon()
    const device = chooseDevice(options.device, () => nativeCall(() => addon.systemInfo()).devices)
    return await loadExported(addon, file, options, { device, seed })
  }
})

/** None where a part of it is not known here: rows of ids go without, and rows of text are told why. */
function tokenizerIn(folder: string): TextTokenizer | undefined {
  if (!hasTokenizer(folder)) return undefined
  try {
    return TextTokenizer.fromFolder(folder)
  } catch (error) {
    if ((error as Partial<AdapterError>).code === 'ERR_UNSUPPORTED') return undefined
    throw error
  }
}

type MakeOptions = Pick<LoadOptions, 'device' | 'trunk' | 'seed'>

async function make(
  config: ModelConfig,
  options: MakeOptions,
  tokenizer: TextTokenizer | undefined,
  source: string | undefined
): Promise<Model> {
  const seed = check.checkInteger('seed', options.seed ?? 42, 0)
  const addon = loadAddon()
  const device = chooseDevice(options.device, () => nativeCall(() => addon.systemInfo()).devices)
  const choice = await chooseTrunk(options.trunk ?? 'float32', config, device)
  const native = nativeCall(() => addon.createModel(nativeModelConfig(config), device, choice.trunk))
  return new Model({ native, config, tokenizer, source, device, seed, ...choice })
}

/** @param seen the devices that libtorch can use, such as `['cpu', 'cuda:0']` */
export function chooseDevice(wish: Device | undefined, seen: () => readonly string[]): string {
  const device = checkDevice(wish ?? defaultDevice())
  if (device === 'cpu') return device
  const devices = seen()
  const first = devices.find((name) => name.startsWith('cuda'))
  if (device === 'auto') return first ?? 'cpu'
  const wanted = device === 'cuda' ? first : devices.find((name) => name === device)
  if (wanted !== undefined) return wanted
  throw new AdapterError('ERR_DEVICE', 'choose the device', `there is no ${device} here`, {
    expected: `one of ${devices.join(', ')}`,
    got: wish === undefined ? `${device}, which TORCH_ADAPTERS_DEVICE says` : device,
    hint: 'Run "npx torch-adapters doctor" to see why'
  })
}

/** The weights of a folder of Hugging Face's, into a model of its config. */
export async function readWeights(model: Model, folder: string): Promise<LoadReport> {
  const report = await nativeCall(() => model.native.loadWeights(folder))
  checkComplete(model, folder, report)
  notePooler(model, report.missing)
  warnOfActivations(folder, model.config, report)
  warnOfLayers(folder, model.config, report)
  return report
}

/** A config.json with too few layers makes another model of the same weights. */
function warnOfLayers(folder: string, { numHiddenLayers }: ModelConfig, { unexpected }: LoadReport): void {
  // A head of a whole model's folder may be called as layers are.
  const layers = unexpected.map((name) => Number(/^(?!heads\.)(?:.*\.)?(?:layer|h)\.(\d+)\./.exec(name)?.[1] ?? -1))
  const last = layers.reduce((most, layer) => Math.max(most, layer), -1)
  if (last < numHiddenLayers) return
  process.emitWarning(
    `load the model: the weights of ${folder} have ${last + 1} layers, and by config.json (num_hidden_layers) the model has ` +
      `${numHiddenLayers}: the others are left out.`,
    { code: 'TORCH_ADAPTERS_UNUSED_LAYERS' }
  )
}

/** As in transformers, an activation that a checkpoint has no numbers for begins to learn, and only a warning tells. */
function warnOfActivations(folder: string, { hiddenAct }: ModelConfig, { missing }: LoadReport): void {
  const names = missing.filter(isOfActivation)
  if (names.length === 0) return
  process.emitWarning(
    `load the model: ${folder} lacks what its activation '${hiddenAct}' (hidden_act) has learned: ${some(names, namesTold)}. ` +
      'They have the values that training begins with.',
    { code: 'TORCH_ADAPTERS_NEW_ACTIVATIONS' }
  )
}

const isOfActivation = (name: string): boolean => /\.(intermediate_act_fn|activation|act)\./.test(name)

/** A damaged config may ask for thousands. */
const namesTold = 8

/** A whole pooler may be missing (checkpoints of masked language models have none), and an activation's own parameter. */
function checkComplete(model: Model, folder: string, { missing, unexpected }: LoadReport): void {
  const pooler = model.namedParameters().filter(({ name }) => isOfPooler(name))
  const hasNone = pooler.length === missing.filter(isOfPooler).length
  const mayMiss = (name: string) => (isOfPooler(name) ? hasNone : isOfActivation(name))
  const needed = missing.filter((name) => !mayMiss(name))
  if (needed.length === 0) return
  throw new AdapterError(
    'ERR_STATE_DICT',
    'load the model',
    `${folder} lacks weights that its config.json asks for: ${some(needed, namesTold)}`,
    {
      ...(unexpected.length > 0 && { got: `names that it does not ask for: ${some(unexpected, namesTold)}` }),
      hint: 'Weights and config.json must be of the same model'
    }
  )
}
