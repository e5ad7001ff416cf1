import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { unlessAborted } from '../data/abort.js'
import type { Model } from '../model/model.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { NativeClassWeights, NativeMemberResult, NativeTrainer } from '../native/trainer-types.js'
import type { BestEvaluation } from '../training/best.js'
import type { SavedCallback } from '../training/callback-states.js'
import type { TrainerCallback } from '../training/callbacks.js'
import type { Evaluation } from '../training/evaluate.js'
import type { Fingerprint } from '../training/fingerprint.js'
import { nativeMember, nativeTrainer } from '../training/native-trainer.js'
import { prepared } from '../training/prepared.js'
import type { StartLine } from '../training/record/lines.js'
import type { SavedLength } from '../training/run-length.js'
import { checkShared } from './check-run.js'
import { CommonBest, type SavedCommonBest } from './common-best.js'
import type { TaskStep, TasksEvent } from './events.js'
import type { Feed } from './feed.js'
import type { Learner, SavedLearner } from './learner.js'
import { mergeBatches, type OwnedBatch } from './merge-batches.js'
import { type Share, sharesOf } from './owners.js'
import { sharedArguments } from './shared-arguments.js'
import { type PlannedRound, TaskPlan } from './task-plan.js'
import type { TaskSampler } from './task-sampler.js'

export interface TasksRun {
  readonly model: Model
  readonly args: ResolvedTrainingArguments
  readonly learners: readonly Learner[]
  readonly feeds: readonly Feed[]
  readonly sampler: TaskSampler
  /** A learner whose loss is not finite ends, and the others go on; otherwise that is an error. */
  readonly goOn: boolean
  readonly fingerprint: () => Promise<Fingerprint>
  readonly signal: AbortSignal | undefined
  /** When the signal stops it, a checkpoint is written first. */
  readonly saveOnAbort?: boolean | undefined
  /** Where checkpoints are written, one of the end, too, from which nothing goes on. */
  readonly keepsEnd?: boolean
  readonly callbacks: readonly TrainerCallback<TasksEvent>[] | undefined
  /** What the run's records say of those that train. */
  readonly beside: Pick<StartLine, 'tasks' | 'members'>
  /** Where the best step is one of all tasks: of which metric the mean over them says so. */
  readonly averagedMetric?: string | undefined
  /** Takes the folder of checkpoints, for one that only a callback asks for. */
  readonly lock?: () => void
  /** Told which steps there will be, before the first event. */
  readonly onPlan?: (plan: TaskPlan) => void
}

/** What a checkpoint keeps beside the tensors. */
export interface SavedTasks extends SavedLength {
  /** Rounds of the sampler, those without a step among them. */
  readonly round: number
  readonly run: Fingerprint
  readonly learners: readonly SavedLearner[]
  /** Of each feed the steps that were taken from it. */
  readonly drawn: readonly number[]
  /** What callbacks remember. */
  readonly callbacks?: readonly SavedCallback[] | undefined
  /** Where it is one of all. */
  readonly best?: SavedCommonBest | undefined
  /** Of the end, where it is kept. */
  readonly isOver?: boolean | undefined
}

export interface ReadyStep {
  readonly batches: readonly ReturnType<typeof mergeBatches>[]
  readonly members: readonly number[]
  readonly epoch: number
  readonly endsEpoch: boolean
  readonly isLast: boolean
  /** Where the sampler and the feeds stand behind it. */
  readonly round: number
  readonly drawn: readonly number[]
}

/** Where a run stands, and what it does next. */
export class RunState {
  readonly plan: TaskPlan
  readonly native: NativeTrainer
  readonly #shares: readonly Share[]
  readonly #memberOf: readonly number[]
  /** Steps done, of the run and of those that it resumed. */
  step = 0
  /** Behind the last step that was done. */
  round = 0
  drawn: readonly number[]
  #rounds: Generator<PlannedRound>
  #common: CommonBest | undefined

  private constructor(
    private readonly run: TasksRun,
    { plan, native, shares }: { plan: TaskPlan; native: NativeTrainer; shares: readonly Share[] }
  ) {
    this.plan = plan
    this.native = native
    this.#shares = shares
    this.#memberOf = run.learners.map((learner, i) => ownMember(shares, learner, i))
    this.drawn = run.feeds.map(() => 0)
    this.#rounds = plan.from(0)
    this.#common = this.#commonBest(undefined)
  }

  static async make(run: TasksRun, classWeights: readonly NativeClassWeights[]): Promise<RunState> {
    const { model, args, learners, feeds, sampler } = run
    const shares = sharesOf(
      model,
      learners.map(({ options }) => options.parts)
    )
    const plan = new TaskPlan(args, sampler, feeds, shares)
    const members = shares.map((share, i) => {
      const [first = 0] = share.tasks
      const name = share.tasks.map((task) => learners[task]?.name).join(' and ')
      const isOwn = share.tasks.length === 1
      const sharing = share.tasks.flatMap((task) => learners[task]?.options ?? [])
      if (!isOwn) checkShared(run, name, sharing)
      const own = isOwn ? (learners[first] as Learner).options.args : sharedArguments(model, args, sharing)
      return nativeMember(model, own, plan.stepsOf(i, own), { name, names: share.names })
    })
    const native = await nativeTrainer(model, members, args.seed, classWeights)
    return new RunState(run, { plan, native, shares })
  }

  #commonBest(saved: SavedCommonBest | undefined): CommonBest | undefined {
    const { args, averagedMetric } = this.run
    return averagedMetric === undefined ? undefined : new CommonBest(args, averagedMetric, saved)
  }

  /** Of all tasks together. */
  get best(): BestEvaluation | null {
    return this.#common?.best ?? null
  }

  /** Whether evaluations of all together have got no better for long enough. */
  get isOver(): boolean {
    return this.#common?.isOver ?? false
  }

  get epoch(): number {
    return this.plan.epochAfter(this.round)
  }

  async restore({ step, round, learners, drawn, best }: SavedTasks): Promise<void> {
    this.step = step
    this.round = round
    learners.forEach((saved, i) => {
      this.run.learners[i]?.restore(saved)
    })
    this.drawn = drawn
    this.#common = this.#commonBest(best)
    this.prepareFrom()
    for (const learner of this.run.learners) await this.#rescale(learner)
    await this.#rescaleTogether()
  }

  saved(run: Fingerprint): SavedTasks {
    const learners = this.run.learners.map(({ saved }) => saved)
    const { totalSteps } = this.plan
    return {
      step: this.step,
      totalSteps,
      round: this.round,
      run,
      learners,
      drawn: this.drawn,
      best: this.#common?.saved
    }
  }

  /**
   * Begins with the next step's batches now and gives them, or throws what went wrong, when they are asked for. One at a time:
   * the feeds go on where the one before has left them.
   */
  prepare(): () => Promise<ReadyStep | undefined> {
    return prepared(() => this.#next())
  }

  /** The same behind the last step that was done, without those that have ended since. */
  prepareAgain(): () => Promise<ReadyStep | undefined> {
    this.prepareFrom()
    return this.prepare()
  }

  private prepareFrom(): void {
    this.#rounds = this.plan.from(this.round)
    this.run.feeds.forEach((feed, i) => {
      feed.skipTo(this.drawn[i] ?? 0)
    })
  }

  async #next(): Promise<ReadyStep | undefined> {
    const { feeds, signal } = this.run
    for (let at = this.#rounds.next(); at.done !== true; at = this.#rounds.next()) {
      const { counts, round, epoch, endsEpoch, isLast } = at.value
      // Nothing, and not an error: the run looks at the signal before each step.
      const packed = await unlessAborted(this.#packed(counts), signal, () => ({ batches: [], members: [] }))
      if (packed.batches.length === 0 && signal?.aborted !== true) continue
      return { ...packed, epoch, endsEpoch, isLast, round, drawn: feeds.map(({ drawn }) => drawn) }
    }
    return undefined
  }

  /** `counts`: of each feed the steps to take from it. */
  async #packed(counts: ArrayLike<number>): Promise<Pick<ReadyStep, 'batches' | 'members'>> {
    const { learners, feeds, signal } = this.run
    const micro: OwnedBatch[][] = []
    const taking = new Set<number>()
    for (const [i, feed] of feeds.entries()) {
      const count = counts[i] ?? 0
      const own = feed.options.learners.filter((index) => learners[index]?.ended === undefined)
      if (count === 0 || own.length === 0) continue
      for (const [j, drawn] of feed.take(count).entries()) {
        const batch = await feed.batch(
          drawn,
          (head) => this.#learnerOf(feed, head),
          (index) => this.#weight(index),
          signal
        )
        if (batch === undefined) continue
        const list = micro[j] ?? []
        micro[j] = [...list, { ...batch, members: batch.members.map((index) => this.#memberOf[index] ?? 0) }]
        for (const index of own) taking.add(index)
      }
    }
    const batches = micro.filter((list) => list !== undefined && list.length > 0)
    return { batches: batches.map(mergeBatches), members: this.#members(taking) }
  }

  #learnerOf({ options }: Feed, head: string): number {
    const { learners } = this.run
    return options.learners.find((index) => learners[index]?.options.head === head) ?? options.learners[0] ?? 0
  }

  /** One that has ended and still reads rows with others learns nothing from them. */
  #weight(index: number): number {
    const learner = this.run.learners[index]
    return learner?.ended === undefined ? (learner?.options.weight ?? 1) : 0
  }

  #members(taking: ReadonlySet<number>): number[] {
    return this.#shares.flatMap(({ tasks }, member) => (tasks.some((task) => taking.has(task)) ? [member] : []))
  }

  /** Those that took part, each with what its own parameters did. */
  #resultsOf(results: readonly NativeMemberResult[]): [Learner, NativeMemberResult][] {
    return this.run.learners.flatMap((learner, i): [Learner, NativeMemberResult][] => {
      const result = results.find(({ member }) => member === this.#memberOf[i])
      return result === undefined ? [] : [[learner, result]]
    })
  }

  /** Takes what the members did; gives those that can go on no longer. */
  take(results: readonly NativeMemberResult[]): Learner[] {
    const failed: Learner[] = []
    for (const [learner, result] of this.#resultsOf(results)) {
      if (result.finite) learner.step(result)
      else failed.push(learner)
    }
    const shared = results.find(({ finite, member }) => !finite && !this.#memberOf.includes(member))
    if (shared !== undefined && failed.length === 0) throw notFinite(this.step, shared)
    return failed
  }

  lossesOf(results: readonly NativeMemberResult[]): { loss: number; tasks: Record<string, TaskStep> } {
    const tasks: Record<string, TaskStep> = {}
    let sum = 0
    for (const [{ name, steps, options }, { loss, learningRate, gradNorm }] of this.#resultsOf(results)) {
      tasks[name] = { step: steps, loss, learningRate, gradNorm }
      sum += options.weight * loss
    }
    return { loss: sum, tasks }
  }

  /** Takes a learner's evaluation; whether it is its best, whose parameters are then kept where they are wanted. */
  async evaluated(learner: Learner, evaluation: Evaluation): Promise<boolean> {
    const isBest = learner.evaluated({ step: this.step, epoch: this.epoch }, evaluation)
    this.#common?.evaluated(learner.name, evaluation)
    if (isBest && learner.options.args.loadBestModelAtEnd) {
      await nativeCall(() => this.native.keep(this.#memberFor(learner)))
    }
    await this.#rescale(learner)
    return isBest && this.#common === undefined
  }

  /** Behind the evaluations of a step: whether it is the best of all tasks together, which is then kept where it is wanted. */
  async allEvaluated(): Promise<boolean> {
    const isBest = this.#common?.take(this.step) === true
    await this.#rescaleTogether()
    if (!isBest) return false
    if (this.run.args.loadBestModelAtEnd) {
      for (const member of this.#shares.keys()) await nativeCall(() => this.native.keep(member))
    }
    return true
  }

  async #rescale(learner: Learner): Promise<void> {
    const { scale } = learner
    if (scale !== undefined) await nativeCall(() => this.native.setScale(this.#memberFor(learner), scale))
  }

  /** What tasks share, and what is a task's own where it follows their mean. */
  async #rescaleTogether(): Promise<void> {
    const scale = this.#common?.scale
    if (scale === undefined) return
    for (const [member, { tasks }] of this.#shares.entries()) {
      const follows = tasks.length > 1 || this.run.learners[tasks[0] as number]?.options.followsMean === true
      if (follows) await nativeCall(() => this.native.setScale(member, scale))
    }
  }

  #memberFor(learner: Learner): number {
    return this.#memberOf[this.run.learners.indexOf(learner)] ?? 0
  }

  /** Puts everyone back to their best, or to that of all. */
  async takeBest(): Promise<void> {
    const { best } = this
    if (this.run.args.loadBestModelAtEnd && best !== null && best.step !== this.step) {
      for (const member of this.#shares.keys()) await nativeCall(() => this.native.restore(member))
    }
    for (const learner of this.run.learners) {
      if (learner.wantsBest) await nativeCall(() => this.native.restore(this.#memberFor(learner)))
    }
  }
}

function ownMember(shares: readonly Share[], { name }: Learner, learner: number): number {
  const own = shares.findIndex(({ tasks }) => tasks.length === 1 && tasks[0] === learner)
  if (own >= 0) return own
  throw new AdapterError('ERR_INVALID_ARGUMENT', 'train', `'${name}' has nothing of its own that trains`, {
    expected: 'a head or an adapter that no other task trains',
    hint: 'Give it a head of its own; rows for one adapter and one head are one task'
  })
}

function notFinite(step: number, { loss, gradNorm }: NativeMemberResult): AdapterError {
  const got = `loss ${loss}, gradient norm ${gradNorm}`
  return new AdapterError('ERR_NAN_LOSS', 'train', `step ${step}: what tasks share has no finite gradient`, { got })
}
