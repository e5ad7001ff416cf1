import { linearPaths, pathOfPlace, placeOfPath } from '../config/linear-paths.js'
import type { LoraPlace } from '../config/lora-config.js'
import type { ModelConfig } from '../config/model-config.js'
import type { PeftConfig } from '../config/peft-config.js'
import { targetedNames } from '../config/peft-modules.js'
import { AdapterError } from '../native/errors.js'
import type { PeftFolder } from './peft-folder.js'

/** A Linear at which a PEFT folder has an adapter. */
export interface PeftTarget {
  /** Its name in PEFT: with the base model's prefix where a class with a head was wrapped. */
  readonly module: string
  readonly layer: number
  readonly place: LoraPlace
}

interface PeftTensors {
  /** Names of modules, without `base_model.model.`, and the shapes of their adapters' tensors by the last part of the name. */
  readonly modules: ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>
  /** Names, without `base_model.model.`, of what is no adapter's: a head, or what should not be there. */
  readonly others: readonly string[]
}

const ending =
  /\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector|lora_embedding_[AB]|ia3_l|vera_lambda_[bd]|lora_[AB]\.bias)$/
const operation = 'load the PEFT adapter'

/** In front of all names of a file, but those of what all modules share. */
export function peftRoot({ method }: PeftConfig): string {
  const learnsPrompt = method.type === 'PREFIX_TUNING' || method.type === 'PROMPT_TUNING'
  return learnsPrompt ? 'base_model.' : 'base_model.model.'
}

/** What the file holds, by its names alone. */
export function peftTensors({ tensors, config }: PeftFolder): PeftTensors {
  const root = peftRoot(config)
  const modules = new Map<string, Map<string, readonly number[]>>()
  const others: string[] = []
  for (const { name, shape } of tensors) {
    const path = name.startsWith(root) ? name.slice(root.length) : ''
    const part = ending.exec(path)?.[1]
    if (part === undefined) {
      if (path !== '') others.push(path)
      continue
    }
    const module = path.slice(0, -part.length - 1)
    modules.set(module, (modules.get(module) ?? new Map()).set(part, shape))
  }
  return { modules, others }
}

/** Every module with its place in this model. Throws what tells that the folder is another model's. */
export function peftTargets(folder: PeftFolder, model: ModelConfig): readonly PeftTarget[] {
  const { modules } = peftTensors(folder)
  const paths = linearPaths[model.modelType]
  const targets: PeftTarget[] = []
  const homeless: string[] = []
  for (const module of modules.keys()) {
    const inside = module.startsWith(`${paths.prefix}.`) ? module.slice(paths.prefix.length + 1) : module
    const at = placeOfPath(paths, inside)
    if (at === undefined) homeless.push(module)
    else targets.push({ module, ...at })
  }
  checkBelongs(folder, model, targets, homeless)
  // In the order of the model, whatever the file's.
  const places = Object.keys(paths.places)
  return targets.sort((a, b) => a.layer - b.layer || places.indexOf(a.place) - places.indexOf(b.place))
}

/** The shape of a prefix or a prompt; it tells whether the folder is for this model. */
export function promptShape(folder: PeftFolder, tokens: number, width: number, model: ModelConfig): void {
  const shape = folder.tensors.find(({ name }) => name === 'prompt_embeddings')?.shape
  if (shape?.length === 2 && shape[0] === tokens && shape[1] === width) return
  throw new AdapterError('ERR_WRONG_MODEL', operation, `${folder.folder} does not fit this model`, {
    expected: `prompt_embeddings [${tokens}, ${width}] for ${model.modelType} of ${model.numHiddenLayers} layers`,
    got: shape === undefined ? 'a file without prompt_embeddings' : `[${shape.join(', ')}]`,
    hint: `Load it into the model that it was trained on.${trainedOnText(folder)}`
  })
}

function trainedOnText({ config }: PeftFolder): string {
  return config.baseModel === '' ? '' : ` It was trained on ${config.baseModel}.`
}

function checkBelongs(
  found: PeftFolder,
  model: ModelConfig,
  targets: readonly PeftTarget[],
  homeless: readonly string[]
): void {
  const { folder } = found
  const trainedOn = trainedOnText(found)
  const { places } = linearPaths[model.modelType]
  if (targets.length === 0) {
    throw new AdapterError('ERR_WRONG_MODEL', operation, `${folder} belongs to another model`, {
      expected: `an adapter at Linears of ${model.modelType}`,
      got: homeless.length === 0 ? 'a file without one' : `one at ${some(homeless)}`,
      hint: `Load it into the model that it was trained on.${trainedOn}`
    })
  }
  if (homeless.length > 0) {
    throw new AdapterError('ERR_UNSUPPORTED', operation, `there is no place for an adapter at ${some(homeless)}`, {
      expected: `only ${Object.values(places).join(', ')} of each layer`,
      hint: "Train it with target_modules that leave the others out ('dense' alone names a pooler, too), or merge it in Python (merge_and_unload)."
    })
  }
  const deepest = Math.max(...targets.map(({ layer }) => layer))
  if (deepest < model.numHiddenLayers) return
  throw new AdapterError('ERR_WRONG_MODEL', operation, `${folder} belongs to another model`, {
    expected: `a model of ${model.numHiddenLayers} layers`,
    got: `an adapter in layer ${deepest}, counted from 0`,
    hint: `Load it into the model that it was trained on.${trainedOn}`
  })
}

/** The file and target_modules must speak of the same Linears: a file that lost some of them would answer otherwise. */
export function checkTargets({ folder, config }: PeftFolder, model: ModelConfig, targets: readonly PeftTarget[]): void {
  const paths = linearPaths[model.modelType]
  const prefix = targets.some(({ module }) => module.startsWith(`${paths.prefix}.`)) ? `${paths.prefix}.` : ''
  const all = Array.from({ length: model.numHiddenLayers }, (_, layer) =>
    (Object.keys(paths.places) as LoraPlace[]).map((place) => prefix + pathOfPlace(paths, layer, place))
  ).flat()
  const wanted = targetedNames(config, all)
  const held = new Set(targets.map(({ module }) => module))
  const missing = [...wanted].filter((module) => !held.has(module))
  const unexpected = [...held].filter((module) => !wanted.has(module))
  if (missing.length === 0 && unexpected.length === 0) return
  const problems = [
    ...(missing.length === 0 ? [] : [`missing ${some(missing)}`]),
    ...(unexpected.length === 0 ? [] : [`unexpected ${some(unexpected)}`])
  ]
  throw new AdapterError(
    'ERR_STATE_DICT',
    operation,
    `the weights of ${folder} do not fit its config: ${problems.join('; ')}`,
    {
      expected: 'an adapter at each module that target_modules names, and at no other',
      hint: 'Save or download the folder again.'
    }
  )
}

/** The first names of a list, and how many more there are. */
export function some(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ')
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown
}
