import { some } from '../config/counted.js'
import { linearPathsOf, placeOfPath, prefixed, prefixOf } from '../config/linear-paths.js'
import type { LoraPlace } from '../config/lora-config.js'
import { modelLinears } from '../config/lora-targets.js'
import type { ModelConfig } from '../config/model-config.js'
import type { PeftConfig } from '../config/peft-config.js'
import { targetedNames } from '../config/peft-modules.js'
import { AdapterError } from '../native/errors.js'
import type { PeftFolder } from './peft-folder.js'
import { type MultiheadAttention, multiheadParts } from './peft-multihead.js'

/** A Linear at which a PEFT folder has an adapter. */
export interface PeftTarget {
  /** Its name in PEFT: with the base model's prefix where a class with a head was wrapped. */
  readonly module: string
  /** Below the model. */
  readonly path: string
  readonly layer: number
  /** Null: one of an exported network that is no place of a layer. */
  readonly place: LoraPlace | null
  /** What PEFT adds there it adds twice: into out_proj's weight of nn.MultiheadAttention (0.21). */
  readonly twice?: true
}

/** What a model has beside the Linears at which adapters stand. */
export interface OwnModules {
  /** Paths below the model of what has a weight: embeddings and norms, too. */
  readonly weighted: ReadonlySet<string>
  /** Those of PyTorch's class, in an exported network. */
  readonly attentions: readonly MultiheadAttention[]
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

/** PEFT's one adapter at an nn.MultiheadAttention: that of in_proj has the attention's own name. */
const ofOutput = 'base_layer.out_proj'

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

/** Of Linears that are a model's words PEFT also stores what the adapter stands at: `lm_head.base_layer`. */
export function baseLayers(folder: PeftFolder): readonly string[] {
  const { others, modules } = peftTensors(folder)
  const layers = others.flatMap((name) => /^(.*)\.base_layer\.(weight|bias)$/.exec(name)?.[1] ?? [])
  return [...new Set(layers)].filter((path) => modules.has(path)).map((path) => `${path}.base_layer`)
}

/** What PEFT passes by: an adapter at out_proj of nn.MultiheadAttention. Folders of ours say where theirs counts. */
export function passedModules(folder: PeftFolder, model: ModelConfig, own: OwnModules): readonly string[] {
  const attentions = new Set(own.attentions.map(({ path }) => path))
  for (const path of folder.config.outputsAlone) attentions.delete(path)
  return [...peftTensors(folder).modules.keys()].filter((module) => {
    const path = below(module, model)
    return path.endsWith('.out_proj') && attentions.has(path.slice(0, -'.out_proj'.length))
  })
}

/** Attentions of which a folder of ours has nothing at in_proj but zeros, in PEFT's form. */
export function zeroModules(folder: PeftFolder, model: ModelConfig): readonly string[] {
  const { modules } = peftTensors(folder)
  const isAlone = (module: string) => folder.config.outputsAlone.includes(below(module, model))
  return [...modules.keys()].filter((module) => modules.has(`${module}.${ofOutput}`) && isAlone(module))
}

/** A module's path below the model, whether a class with a head was wrapped or the model alone. */
function below(module: string, model: ModelConfig): string {
  const prefix = prefixOf(model)
  return module.startsWith(`${prefix}.`) ? module.slice(prefix.length + 1) : module
}

/** The pooler's Linear, where the folder has an adapter there, as PEFT calls it. */
export function peftPooler(folder: PeftFolder, model: ModelConfig): string | undefined {
  if (model.exported !== null) return undefined // one Linear among others
  const { modules } = peftTensors(folder)
  return [prefixed('pooler.dense', model), 'pooler.dense'].find((module) => modules.has(module))
}

/**
 * Every module with its place in this model. Throws what tells that the folder is another model's.
 * @param withHead false: what stands at the pooler is left out, as only a head reads it
 */
export function peftTargets(
  folder: PeftFolder,
  model: ModelConfig,
  withHead: boolean,
  own: OwnModules
): readonly PeftTarget[] {
  const { modules } = peftTensors(folder)
  const linears = modelLinears(model)
  const order = new Map(linears.map(({ path }, i) => [path, i]))
  const placeOf = (path: string) =>
    model.exported === null ? placeOfPath(linearPathsOf(model), path) : linears.find((linear) => linear.path === path)
  const targets: PeftTarget[] = []
  const homeless: string[] = []
  const passed = passedModules(folder, model, own)
  const halves = zeroModules(folder, model)
  for (const module of modules.keys()) {
    if (passed.includes(module)) continue
    const path = below(module, model)
    const at = placeOf(path)
    const wanted = halves.includes(module) ? ['out_proj'] : multiheadParts
    const both = at === undefined && modules.has(`${module}.${ofOutput}`) ? wanted.map((one) => `${path}.${one}`) : []
    const parts = linears.filter((linear) => both.includes(linear.path))
    if (parts.length > 0 && parts.length === both.length) {
      for (const { path, layer, place } of parts)
        targets.push({ module, path, layer, place, ...(path.endsWith('.out_proj') && { twice: true }) })
      continue
    }
    if (module.endsWith(`.${ofOutput}`) && modules.has(module.slice(0, -ofOutput.length - 1))) continue
    // A class's pooler is part of its head; that of the bare model is read by nothing that answers here.
    const ofHead = model.exported === null && path === 'pooler.dense' && (path !== module || !withHead)
    if (ofHead) continue
    if (at === undefined) homeless.push(module)
    else targets.push({ module, path, layer: at.layer, place: at.place })
  }
  if (passed.length > 0 && targets.length + homeless.length === 0) throw allPassed(folder, passed)
  const known = new Set([...own.weighted, ...own.attentions.map(({ path }) => path)])
  const isKnown = (module: string) => known.has(below(module, model)) || headLinear.test(module)
  const isOther = targets.length === 0 && !homeless.some(isKnown)
  checkBelongs(folder, model, { targets, homeless, isOther })
  // In the order of the model, whatever the file's.
  return targets.sort((a, b) => (order.get(a.path) ?? 0) - (order.get(b.path) ?? 0))
}

function allPassed({ folder }: PeftFolder, passed: readonly string[]): AdapterError {
  const problem = `${folder} holds nothing that runs in PEFT: nn.MultiheadAttention never calls ${some(passed)}`
  return new AdapterError('ERR_UNSUPPORTED', operation, problem, {
    expected: 'an adapter at other Linears, too, or at the attention itself',
    hint: "Train it with target_modules that name the attention ('self_attn'), or other Linears."
  })
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

/** Of transformers' classes with a head. */
const headLinear =
  /^(pre_classifier|classifier|score|qa_outputs|sequence_summary|(generator_)?lm_head|embed_out|cls|vocab_\w+|generator_predictions)(\.|$)/

interface FoundModules {
  readonly targets: readonly PeftTarget[]
  /** Where nothing can stand. */
  readonly homeless: readonly string[]
  /** Of all modules the model has none. */
  readonly isOther: boolean
}

function checkBelongs(found: PeftFolder, model: ModelConfig, { targets, homeless, isOther }: FoundModules): void {
  const { folder, config } = found
  const trainedOn = trainedOnText(found)
  if (isOther) {
    throw new AdapterError('ERR_WRONG_MODEL', operation, `${folder} belongs to another model`, {
      expected: `an adapter at Linears of ${model.modelType}`,
      got: homeless.length === 0 ? 'a file without one' : `one at ${some(homeless)}`,
      hint: `Load it into the model that it was trained on.${trainedOn}`
    })
  }
  const ofHead = homeless.filter((module) => headLinear.test(module))
  if (ofHead.length > 0) {
    throw new AdapterError(
      'ERR_UNSUPPORTED',
      operation,
      `${folder} holds an adapter at ${some(ofHead)}, and not its weights`,
      {
        expected: 'Linears of a head whole in the folder: PEFT starts them at random where they are not',
        got: `${config.method.type} at a Linear of a head`,
        hint:
          "Train it with modules_to_save that name the head's Linears (DistilBERT: ['pre_classifier', 'classifier'])" +
          (model.exported === null
            ? ", not with target_modules='all-linear'."
            : ', or export the class that has the head (--class): there they are Linears of the network.')
      }
    )
  }
  if (homeless.length > 0) {
    throw new AdapterError('ERR_UNSUPPORTED', operation, `there is no place for an adapter at ${some(homeless)}`, {
      expected:
        model.exported === null
          ? `only ${Object.values(linearPathsOf(model).places).join(', ')} of each layer`
          : 'only Linears of the network',
      hint:
        model.exported === null
          ? "Train it with target_modules that name those alone ('dense' alone names a pooler, too), or merge it in Python (merge_and_unload). withHead: false leaves out what stands at a pooler: hidden states do not depend on it."
          : 'Train it with target_modules that name those alone, or merge it in Python (merge_and_unload) and export the merged model.'
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
export function checkTargets(
  found: PeftFolder,
  model: ModelConfig,
  targets: readonly PeftTarget[],
  passed: readonly string[]
): void {
  const { folder, config } = found
  const start = `${prefixOf(model)}.`
  const prefix = targets.some(({ module, path }) => module !== path && module.startsWith(start)) ? start : ''
  const all = modelLinears(model).map(({ path }) => prefix + path)
  all.push(...targets.flatMap(({ module, twice }) => (twice ? [module] : [])))
  const pooler = peftPooler(found, model)
  const wanted = targetedNames(config, pooler === undefined ? all : [...all, pooler])
  const held = new Set([...targets.map(({ module }) => module), ...passed, ...(pooler === undefined ? [] : [pooler])])
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
