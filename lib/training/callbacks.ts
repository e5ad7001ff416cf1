import * as check from '../config/check.js'
import { didYouMean } from '../config/nearest.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { unlessAborted } from '../data/abort.js'
import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'
import { className, ownStates, remembers, type SavedCallback } from './callback-states.js'
import type { TrainingEvent } from './events.js'
import { checkSavable } from './saved-json.js'

/** Where a run stands when it calls, and what a callback may ask of it. */
export interface CallbackRun {
  readonly model: Model
  readonly args: ResolvedTrainingArguments
  /** Optimizer steps done, those before a resumed run included. */
  readonly step: number
  readonly totalSteps: number
  readonly epoch: number
  /** Ends the run behind this step, in good order: the end event says that it stopped early. */
  stop(): void
  /** A log event behind this step. From onStepEnd or onEpochEnd. */
  log(): void
  /** An evaluation behind this step, or in onTrainBegin before the first. From onStepEnd, onEpochEnd or onLog. */
  evaluate(): void
  /** A checkpoint behind this step. From onStepEnd, onEpochEnd, onLog or onEvaluate. */
  save(): void
}

type Waits = void | Promise<void>
type Told<E, T extends string> = Extract<E, { readonly type: T }>

/**
 * What a run calls while it goes on, as transformers' TrainerCallback; it waits for what a call gives, and an error ends it.
 * Of one step the order is onStepEnd, onEpochEnd, onLog, onEvaluate, onSave, each with the event that run() then gives. What
 * a callback remembers between steps a resumed run knows where it has saveState and loadState.
 */
export interface TrainerCallback<E extends { readonly type: string } = TrainingEvent> {
  /** Before the first step; of a resumed run behind its checkpoint. */
  onTrainBegin?(run: CallbackRun): Waits
  onStepEnd?(event: Told<E, 'step'>, run: CallbackRun): Waits
  /** Behind the last step of a pass over the data, and of the run, also where that ends early. */
  onEpochEnd?(run: CallbackRun): Waits
  onLog?(event: Told<E, 'log'>, run: CallbackRun): Waits
  onEvaluate?(event: Told<E, 'evaluate'>, run: CallbackRun): Waits
  onSave?(event: Told<E, 'save'>, run: CallbackRun): Waits
  /** Of several tasks: one ended before the others. */
  onTaskEnd?(event: Told<E, 'taskEnd'>, run: CallbackRun): Waits
  onTrainEnd?(event: Told<E, 'end'>, run: CallbackRun): Waits
  /** What a checkpoint keeps of it: text, numbers, true, false, null, and arrays and plain objects of them. */
  saveState?(): unknown
  /**
   * Gets it back where a run is resumed, before onTrainBegin: what one of the same class saved (of several of a class, the
   * one in the same place among them). One of a class that saved nothing begins anew, and what nobody asks for is dropped.
   */
  loadState?(saved: unknown): Waits
}

const calls = {
  step: 'onStepEnd',
  log: 'onLog',
  evaluate: 'onEvaluate',
  save: 'onSave',
  taskEnd: 'onTaskEnd',
  end: 'onTrainEnd'
} as const

type Call = (typeof calls)[keyof typeof calls] | 'onTrainBegin' | 'onEpochEnd'

const methods: readonly string[] = ['onTrainBegin', 'onEpochEnd', ...Object.values(calls), 'saveState', 'loadState']

/** Where each may be asked for: what comes behind the step in this order is still to come. */
const askedIn = {
  log: ['onStepEnd', 'onEpochEnd'],
  evaluate: ['onTrainBegin', 'onStepEnd', 'onEpochEnd', 'onLog'],
  save: ['onStepEnd', 'onEpochEnd', 'onLog', 'onEvaluate']
} as const satisfies Record<string, readonly Call[]>

type Request = keyof typeof askedIn

// biome-ignore lint/suspicious/noExplicitAny: whose events they take is checked where they are given.
export type AnyCallback = TrainerCallback<any>

export function checkCallbacks(value: unknown): void {
  if (value === undefined) return
  for (const [i, one] of check.checkArray('callbacks', value).entries()) checkCallback(`callbacks[${i}]`, one)
}

/** @param place for messages */
export function checkCallback(place: string, value: unknown): void {
  if (typeof value === 'function' && value.prototype !== undefined) {
    throw check.typeError(
      place,
      `an object with methods such as onStepEnd; of a class, new ${value.name || 'Mine'}()`,
      value
    )
  }
  const given = check.checkObject(place, value)
  // Methods of a class are not its own properties.
  for (const name of methods) {
    if (given[name] !== undefined && typeof given[name] !== 'function') {
      throw check.typeError(`${place}.${name}`, 'a function', given[name])
    }
  }
  const prototype = Object.getPrototypeOf(given) as object | null
  const names = [...Object.keys(given), ...Object.getOwnPropertyNames(prototype ?? {})]
  for (const name of names.filter((one) => /^on[A-Z_]/.test(one))) {
    if (methods.includes(name)) continue
    const help = didYouMean(name, methods) || ` There are ${methods.join(', ')}.`
    throw check.valueError(place, `nothing calls '${name}'.${help}`)
  }
  if (methods.some((name) => given[name] !== undefined)) return
  throw check.valueError(place, `it has none of ${methods.join(', ')}`)
}

export interface RunPlace {
  readonly step: number
  readonly totalSteps: number
  readonly epoch: number
}

/** A run's callbacks, and what they have asked for. */
export class Callbacks {
  readonly #asked = new Set<Request>()
  #place: RunPlace = { step: 0, totalSteps: 0, epoch: 0 }
  #stopped = false

  constructor(
    private readonly all: readonly AnyCallback[] = [],
    private readonly run: { readonly model: Model; readonly args: ResolvedTrainingArguments },
    private readonly hasEvaluation: boolean,
    /** Ends the wait for a callback. */
    private readonly signal: AbortSignal | undefined
  ) {}

  /** Whether one of them has ended the run. */
  get stopped(): boolean {
    return this.#stopped
  }

  /** Whether one of them has asked for this; it is then done once. */
  takes(request: Request): boolean {
    return this.#asked.delete(request)
  }

  async begin(place: RunPlace): Promise<void> {
    this.#place = place
    await this.#call('onTrainBegin')
  }

  async endEpoch(): Promise<void> {
    await this.#call('onEpochEnd')
  }

  /** Tells them of an event, and gives it. */
  async tell<E extends { readonly type: keyof typeof calls } & Partial<RunPlace>>(event: E): Promise<E> {
    const { step, epoch, totalSteps } = { ...this.#place, ...event }
    this.#place = { step, epoch, totalSteps }
    await this.#call(calls[event.type], event)
    return event
  }

  /** For a checkpoint; undefined where there is nothing to keep. */
  async saved(): Promise<readonly SavedCallback[] | undefined> {
    if (!this.all.some((one) => one.saveState !== undefined)) return undefined
    const states: SavedCallback[] = []
    for (const [i, one] of this.all.entries()) {
      if (!remembers(one)) continue
      const state = (await unlessAborted(one.saveState?.(), this.signal)) ?? null
      checkSavable(`callbacks[${i}].saveState()`, state)
      states.push({ name: className(one), state })
    }
    return states
  }

  /** @param saved what a checkpoint kept of each */
  async restore(saved: readonly SavedCallback[] | undefined): Promise<void> {
    if (saved === undefined) return
    for (const [one, state] of ownStates(this.all, saved)) {
      if (state !== null) await unlessAborted(one.loadState?.(state), this.signal)
    }
  }

  async #call(call: Call, event?: unknown): Promise<void> {
    if (this.all.length === 0) return
    const run: CallbackRun = {
      ...this.run,
      ...this.#place,
      stop: () => {
        this.#stopped = true
      },
      log: () => this.#ask('log', call),
      evaluate: () => this.#ask('evaluate', call),
      save: () => this.#ask('save', call)
    }
    for (const one of this.all) {
      const method = one[call] as ((...given: unknown[]) => Waits) | undefined
      await unlessAborted(event === undefined ? method?.call(one, run) : method?.call(one, event, run), this.signal)
    }
  }

  #ask(request: Request, call: Call): void {
    const places: readonly Call[] = askedIn[request]
    if (request === 'evaluate' && !this.hasEvaluation) {
      throw new AdapterError(
        'ERR_INVALID_ARGUMENT',
        'train',
        `${call} asks for evaluate(), and there are no rows for it`,
        {
          expected: 'an evalDataset'
        }
      )
    }
    if (places.includes(call)) {
      this.#asked.add(request)
      return
    }
    throw new AdapterError(
      'ERR_INVALID_ARGUMENT',
      'train',
      `${call} asks for ${request}() behind its turn in the step`,
      {
        expected: `${request}() in ${places.join(', ')}`,
        got: call,
        hint: 'Ask there, or remember it until the next onStepEnd'
      }
    )
  }
}
