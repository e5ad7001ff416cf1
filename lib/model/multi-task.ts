import * as check from '../config/check.js'
import { OutputAdapterConfig, type OutputAdapterOptions } from '../config/output-adapter-config.js'
import { outputSize } from '../config/size.js'
import type { NameInClass } from '../exchange/class-names.js'
import { nativeCall } from '../native/errors.js'
import { checkModel } from './check-model.js'
import { bareNames, flat, valuesOf } from './class-state.js'
import type { ForwardInputs } from './inputs.js'
import type { Model } from './model.js'
import { checkOptions, type ForwardOptions } from './options.js'
import type { ForwardOutputs } from './outputs.js'
import type { StateValue } from './state-dict.js'

export interface TaskConfig extends OutputAdapterOptions {
  /** Default: the model's. */
  readonly hiddenSize?: number | undefined
}

/** The same fields as Python spells them. */
export interface TaskConfigJson {
  readonly adapter_size: number
  readonly hidden_size?: number | undefined
  readonly activation?: TaskConfig['activation']
}

/** A task, or one for each row; a task without an adapter gives the base model's output. */
export type Tasks = string | null | readonly (string | null)[]

/**
 * One adapter for each task on the model's last hidden state, the network below shared: PyTorch's names are
 * `adapters.<task>.down_project.weight` beside the base model's. They are adapters of the model like any others, so the
 * trainer, per-row batches and files know them by the task's name.
 */
export class MultiTaskAdapterModel {
  readonly baseModel: Model
  readonly tasks: readonly string[]

  constructor(baseModel: Model, taskConfigs: Readonly<Record<string, TaskConfig | TaskConfigJson>>) {
    checkModel(baseModel, 'baseModel')
    const configs = Object.entries(check.checkObject('taskConfigs', taskConfigs) as Record<string, unknown>)
    if (configs.length === 0) throw check.valueError('taskConfigs', 'expected at least one task')
    const loaded = configs.map(([task, given]) => {
      const { hiddenSize, ...config } = taskConfig(task, given)
      const size = outputSize(baseModel.config)
      if (hiddenSize !== undefined && hiddenSize !== size) {
        throw check.rangeError(`taskConfigs.${task}.hiddenSize`, `the model's, ${size}`, hiddenSize)
      }
      check.checkPositiveInteger(`taskConfigs.${task}.adapterSize`, config.adapterSize)
      return [task, new OutputAdapterConfig(config as OutputAdapterOptions)] as const
    })
    this.baseModel = baseModel
    this.tasks = Object.freeze(configs.map(([task]) => task))
    const added: string[] = []
    try {
      for (const [task, config] of loaded) {
        baseModel.addAdapter(task, config)
        added.push(task)
      }
    } catch (error) {
      for (const task of added) baseModel.deleteAdapter(task)
      throw error
    }
  }

  /** @param task whose adapter the rows pass; one that has none, or null, gives the base model's output */
  async forward(
    inputs: ForwardInputs,
    task: Tasks,
    options: Omit<ForwardOptions, 'adapters'> = {}
  ): Promise<ForwardOutputs> {
    checkOptions(options, ['head', 'outputHiddenStates'])
    const adapters = isList(task) ? task.map((one) => this.#known(one)) : this.#known(task)
    return await this.baseModel.forward(inputs, { ...options, adapters })
  }

  /** From now on training trains this task's adapter with the active head, and calls that name no task use it. */
  trainTask(task: string): void {
    this.baseModel.trainAdapter(check.checkOneOf('task', task, this.tasks))
  }

  /** Copies of all values, named as PyTorch's state_dict of such a module: `base_model.…`, `adapters.<task>.…`. */
  stateDict(): Map<string, StateValue> {
    return valuesOf(this.baseModel, this.#names())
  }

  /**
   * Loads a file of that state_dict, of `torch.save` or safetensors. Missing, unexpected and misshaped names are one error, and
   * nothing has changed then.
   */
  async loadWeights(path: string): Promise<void> {
    check.checkNonEmptyString('path', path)
    const names = this.#names()
    const ours = names.map((name) => name.ours)
    await nativeCall(() => this.baseModel.native.loadState(path, flat(names), ours))
  }

  #names(): NameInClass[] {
    const own = this.baseModel.namedParameters().flatMap(({ name }) => {
      const isOwn = this.tasks.some((task) => name.startsWith(`adapters.${task}.`))
      return isOwn ? [{ theirs: name, ours: name }] : []
    })
    return [...bareNames(this.baseModel).map(({ theirs, ours }) => ({ theirs: `base_model.${theirs}`, ours })), ...own]
  }

  #known(task: string | null): string | null {
    if (task !== null) check.checkString('task', task)
    return task !== null && this.tasks.includes(task) ? task : null
  }
}

/** The same fields as Python spells them are read, too. */
const spelled: Readonly<Record<string, string>> = { hidden_size: 'hiddenSize', adapter_size: 'adapterSize' }

function taskConfig(task: string, given: unknown): Partial<TaskConfig> {
  const fields = new Map<string, unknown>()
  for (const [key, value] of Object.entries(check.checkObject(`taskConfigs.${task}`, given))) {
    const field = Object.hasOwn(spelled, key) ? (spelled[key] as string) : key
    if (fields.has(field)) throw check.valueError(`taskConfigs.${task}`, `'${field}' is given in two spellings`)
    fields.set(field, value)
  }
  const config = Object.fromEntries(fields)
  check.checkKeys(`taskConfigs.${task}`, config, ['hiddenSize', 'adapterSize', 'activation'])
  return config
}

const isList = (task: Tasks): task is readonly (string | null)[] => Array.isArray(task)
