import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type FuseTasksOptions, fuseTasks, type Model, type TrainingArguments } from '../../lib/index.js'
import { make, quiet, scratch, tinyRows } from '../model/support.js'
import { lengthRows } from './support.js'

const rows = { x: tinyRows(12, { seed: 1 }), y: tinyRows(8, { seed: 2 }) }
const evalDataset = tinyRows(8, { seed: 3 })

/** With dropout, so that a step that draws other numbers shows. */
async function begun(t: ExecutionContext): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.1 })
  for (const name of ['x', 'y']) {
    model.addAdapter(name)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  return model
}

const optionsOf = (model: Model, args: TrainingArguments): FuseTasksOptions => ({
  model,
  tasks: { x: { dataset: rows.x, evalDataset }, y: { dataset: rows.y } },
  target: 'x',
  args: { ...quiet, numTrainEpochs: 2, saveStrategy: 'steps', saveSteps: 4, reportTo: ['jsonl'], ...args },
  fusion: { args: { learningRate: 5e-3 } }
})

/** Every parameter, as bits. */
const bitsOf = (model: Model) =>
  model
    .namedParameters()
    .map(({ name }) => [name, Buffer.from(model.parameter(name).data.slice().buffer).toString('base64')])

test('each stage has a folder of its own, for checkpoints and for events', async (t) => {
  const outputDir = scratch(t)
  const loggingDir = scratch(t)
  const model = await begun(t)
  // Arguments of the first stage that are given again name no folder of the second.
  const options = optionsOf(model, { outputDir, loggingDir })
  await fuseTasks({ ...options, fusion: { args: options.args } })
  t.deepEqual(readdirSync(outputDir).sort(), ['checkpoint-4', 'checkpoint-6', 'fusion'])
  t.deepEqual(readdirSync(join(outputDir, 'fusion')).sort(), ['checkpoint-4', 'checkpoint-6'])
  for (const folder of [loggingDir, join(loggingDir, 'fusion')]) t.true(existsSync(join(folder, 'events.jsonl')))

  const elsewhere = scratch(t)
  const other = optionsOf(await begun(t), { outputDir: scratch(t), maxSteps: 4 })
  await fuseTasks({ ...other, fusion: { args: { outputDir: elsewhere } } })
  t.deepEqual(readdirSync(elsewhere).sort(), ['checkpoint-4', 'events.jsonl'])
})

test('class weights and smoothed labels for all are left out where the target has a value; its own are refused at once', async (t) => {
  const model = await begun(t)
  model.addRegressionHead('value')
  const target = { adapter: 'x', head: 'value', dataset: lengthRows(6, 1) }
  const args = { ...quiet, maxSteps: 1, classWeights: 'balanced', labelSmoothingFactor: 0.1 } as const
  const options = { model, tasks: { value: target, y: { dataset: rows.y } }, target: 'value', args }
  await t.throwsAsync(fuseTasks({ ...options, fusion: { args: { labelSmoothingFactor: 0.1 } } }), {
    message: /^fusion\.args\.labelSmoothingFactor: no head that trains chooses/
  })
  t.is((await fuseTasks(options)).target.step, 1)
})

test('what no fusion is made of is said, and where the options of a run stand', async (t) => {
  const options = optionsOf(await begun(t), { maxSteps: 2, saveStrategy: 'no', reportTo: 'none' })
  for (const [more, message] of [
    [{ signal: AbortSignal.abort() }, /'signal' is for a run .*: fuseTasks\(\{ … \}, \{ signal \}\)/],
    [{ saveOnAbort: true }, /fuseTasks\(\{ … \}, \{ saveOnAbort \}\)/],
    [{ target: { dataset: rows.x } as never }, /^target: expected a task's name, one of 'x', 'y', got an object/],
    [{ targets: 'x' }, /unknown option 'targets'\. Did you mean 'target'/],
    [{ tokenizer: null }, /'tokenizer' is not taken: the model has its own/],
    [{ tasks: { x: { dataset: rows.x } } }, /^tasks: a fusion is over two adapters or more; .* got 'x' alone/]
  ] as const) {
    await t.throwsAsync(fuseTasks({ ...options, ...more } as FuseTasksOptions), { message })
  }
  const signal = AbortSignal.abort(new Error('enough'))
  await t.throwsAsync(fuseTasks(options, { signal }), { message: 'enough' })
})

test('a task without rows is refused: the fusion would stand over an adapter that has learned nothing', async (t) => {
  async function* none() {}
  for (const dataset of [[], none]) {
    const model = await begun(t)
    const { tasks, ...options } = optionsOf(model, { maxSteps: 2, saveStrategy: 'no', reportTo: 'none' })
    const given = {
      ...options,
      tasks: { ...tasks, y: { dataset: typeof dataset === 'function' ? dataset() : dataset } }
    }
    await t.throwsAsync(fuseTasks({ ...given, onNotFinite: 'stopTask' }), {
      message: /^tasks\.y: it has no rows, so that the fusion would stand over 'y' as it was made/
    })
    t.is(model.adapterFusions.size, 0)
  }
})

for (const [stage, at] of [
  ['tasks', 3],
  ['tasks', 6],
  ['fusion', 1],
  ['fusion', 5]
] as const) {
  for (const saveOnAbort of [false, true]) {
    test(`aborted at step ${at} of ${stage}, saving ${saveOnAbort}: resumed it ends with the same bits`, async (t) => {
      const whole = await begun(t)
      const expected = await fuseTasks(optionsOf(whole, { outputDir: scratch(t), saveSteps: 2 }))
      const outputDir = scratch(t)
      const controller = new AbortController()
      const abort = ({ step }: { step: number }) => {
        if (step === at) controller.abort(new Error('enough'))
      }
      const steps: string[] = []
      const following = (own: FuseTasksOptions): FuseTasksOptions => ({
        ...own,
        callbacks: [{ onStepEnd: ({ step }) => void steps.push(`tasks ${step}`) }],
        fusion: { ...own.fusion, callbacks: [{ onStepEnd: ({ step }) => void steps.push(`fusion ${step}`) }] }
      })
      const interrupted = optionsOf(await begun(t), { outputDir, saveSteps: 2 })
      const callbacks = [{ onStepEnd: abort }]
      const run = fuseTasks(
        stage === 'tasks'
          ? { ...interrupted, callbacks }
          : { ...interrupted, fusion: { ...interrupted.fusion, callbacks } },
        { signal: controller.signal, saveOnAbort }
      )
      await t.throwsAsync(run, { message: 'enough' })

      const model = await begun(t)
      const result = await fuseTasks(
        following(optionsOf(model, { outputDir, saveSteps: 2, resumeFromCheckpoint: true }))
      )
      t.deepEqual(bitsOf(model), bitsOf(whole))
      t.is(result.tasks.tasks['x']?.loss, expected.tasks.tasks['x']?.loss)
      t.is(result.target.loss, expected.target.loss)
      if (stage === 'fusion')
        t.false(
          steps.some((one) => one.startsWith('tasks')),
          steps.join()
        )
      // All of it once more: nothing is left to do.
      steps.length = 0
      const again = await begun(t)
      await fuseTasks(following(optionsOf(again, { outputDir, saveSteps: 2, resumeFromCheckpoint: true })))
      t.deepEqual(steps, [])
      t.deepEqual(bitsOf(again), bitsOf(whole))
    })
  }
}

test('a first stage that a callback ended is over; checkpoints of an older fusion are not taken for its own', async (t) => {
  const outputDir = scratch(t)
  const steps: string[] = []
  const fused = async (stopAt: number, args: TrainingArguments, stopFusionAt = 99) => {
    const model = await begun(t)
    const options = optionsOf(model, { outputDir, saveSteps: 2, ...args })
    const stop = (stage: string, last: number) => ({
      onStepEnd: ({ step }: { step: number }, run: { stop(): void }) => {
        steps.push(`${stage} ${step}`)
        if (step === last) run.stop()
      }
    })
    await fuseTasks({
      ...options,
      callbacks: [stop('tasks', stopAt)],
      fusion: { ...options.fusion, callbacks: [stop('fusion', stopFusionAt)] }
    })
    return model
  }
  await fused(3, {}, 2)
  steps.length = 0
  await fused(3, { resumeFromCheckpoint: true })
  t.deepEqual(steps, ['fusion 3', 'fusion 4', 'fusion 5', 'fusion 6'])
  steps.length = 0
  // From the middle of the first stage the fusion begins anew.
  await fused(99, { resumeFromCheckpoint: join(outputDir, 'checkpoint-2') })
  t.is(steps.at(-6), 'fusion 1')
  // From one of the second the first is at its end.
  steps.length = 0
  await fused(99, { resumeFromCheckpoint: join(outputDir, 'fusion', 'checkpoint-4') })
  t.deepEqual(steps, ['fusion 5', 'fusion 6'])
})

for (const at of [2, 5]) {
  test(`aborted at step ${at} of fusion: the same model goes on with the same bits`, async (t) => {
    const whole = await begun(t)
    await fuseTasks(optionsOf(whole, { outputDir: scratch(t), saveSteps: 2 }))
    const options = optionsOf(await begun(t), { outputDir: scratch(t), saveSteps: 2 })
    const { model, fusion } = options
    const controller = new AbortController()
    const callbacks = [
      { onStepEnd: ({ step }: { step: number }) => void (step === at && controller.abort(new Error('enough'))) }
    ]
    await t.throwsAsync(fuseTasks({ ...options, fusion: { ...fusion, callbacks } }, { signal: controller.signal }))
    await t.throwsAsync(fuseTasks(options), {
      instanceOf: TypeError,
      message:
        /^fusion\.name: the model has a fusion 'x,y' already, .* resumeFromCheckpoint: true .* model\.deleteAdapterFusion\('x,y'\)/
    })
    const steps: number[] = []
    const watched = { ...fusion, callbacks: [{ onStepEnd: ({ step }: { step: number }) => void steps.push(step) }] }
    const args = { ...options.args, resumeFromCheckpoint: true }
    const result = await fuseTasks({ ...options, fusion: watched, args })
    t.is(steps[0], at - (at % 2) + 1, 'behind the newest checkpoint')
    t.is(result.fusion, 'x,y')
    t.deepEqual(bitsOf(model), bitsOf(whole))
    model.deleteAdapterFusion('x,y')
    await t.notThrowsAsync(fuseTasks({ ...options, args: { ...options.args, outputDir: scratch(t) } }))
  })
}

test('a first stage that is over keeps its length; the fusion may go on for longer', async (t) => {
  const outputDir = scratch(t)
  const fused = async (args: TrainingArguments, own: TrainingArguments = {}) => {
    const options = optionsOf(await begun(t), { outputDir, maxSteps: 4, ...args })
    return await fuseTasks({ ...options, fusion: { args: { ...options.fusion?.args, ...own } } })
  }
  await fused({})
  await t.throwsAsync(fused({ maxSteps: 6, resumeFromCheckpoint: true }), {
    code: 'ERR_RESUME',
    message: /the first stage is over \(expected its 4 steps, got 6\)\. For the second alone .* fusion\.args/
  })
  const { tasks, target } = await fused({ resumeFromCheckpoint: true }, { maxSteps: 6 })
  t.is(tasks.steps, 0)
  t.like(target, { step: 6, steps: 2 })
})
