import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Random } from '../../lib/data/random.js'
import { AutoModel } from '../../lib/model/auto-model.js'
import { command, scratch } from './command.js'
import { tinyModel } from './tiny-model.js'

const place = scratch()
const model = tinyModel
const rows = join(place, 'rows.jsonl')
const shared = ['--threads', '1', '--model']

/** Rows of random ids whose first id decides the label. */
test.before(() => {
  const random = Random.fromSeed(1)
  const lines = Array.from({ length: 64 }, (_, id) => {
    const yes = random.nextBelow(2) === 1
    const rest = Array.from({ length: 1 + random.nextBelow(4) }, () => 5 + random.nextBelow(80))
    return JSON.stringify({ id, input_ids: [yes ? 91 : 92, ...rest], label: yes ? 'yes' : 'no' })
  })
  writeFileSync(rows, `${lines.join('\n')}\n`)
})

const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

const recipe = ['--train', rows, '--epochs', '3', '--learning-rate', '0.01', '--seed', '3', '--name', 'yesno']

async function train(t: ExecutionContext, folder: string, args: readonly string[]) {
  const { status, output, errors } = await command(['train', ...shared, model, '-o', folder, ...recipe, ...args])
  t.is(status, 0, errors)
  return { output, errors }
}

/** Accuracy of evaluate and of predict's answers over the rows: they must agree. */
async function accuracy(t: ExecutionContext, args: readonly string[]): Promise<number> {
  const measured = await command(['evaluate', ...shared, ...args, '-d', rows, '--json'])
  t.is(measured.status, 0, measured.errors)
  const { metrics, head, adapter } = JSON.parse(measured.output)
  t.is(head, 'yesno')
  t.is(adapter, null)
  const predicted = await command(['predict', ...shared, ...args, '-i', rows])
  t.is(predicted.status, 0, predicted.errors)
  const given = lines(readFileSync(rows, 'utf8'))
  const right = lines(predicted.output).filter(({ label }, i) => label === given[i].label).length
  t.is(right / given.length, metrics.accuracy)
  return metrics.accuracy
}

test.serial('--tune head: the folder of a head, which evaluate, predict and inspect take', async (t) => {
  const folder = join(place, 'head')
  const { output, errors } = await train(t, folder, ['--tune', 'head', '--eval', rows, '--save', 'epoch'])
  // 32 × 32 + 32 and 32 × 2 + 2.
  t.is(output, `head 'yesno' (1,122 parameters) is in ${folder}\n`)
  t.regex(errors, /^head: classification, 2 labels \(no, yes\)$/m)
  t.deepEqual(readdirSync(folder).sort(), [
    ...['checkpoints', 'events.jsonl', 'head_config.json', 'model_head.safetensors', 'report.html'],
    'train.json'
  ])
  const measured = await accuracy(t, [model, '--head', folder])
  t.true(measured > 0.8)
  t.true(errors.includes(`accuracy ${measured.toFixed(4)}`), errors)
  const { head, adapter } = JSON.parse((await command(['inspect', '--json', folder])).output)
  t.is(adapter, undefined)
  t.is(head.name, 'yesno')
  t.is(head.weights.parameters, 1122)
  t.regex((await command(['inspect', folder])).output, /head 'yesno'[\s\S]*trained on {4}.*bert, hidden size 32/)

  // The last checkpoint holds the same head.
  const checkpoint = join(folder, 'checkpoints', 'checkpoint-12')
  const { inside } = JSON.parse((await command(['inspect', '--json', checkpoint])).output)
  t.is(inside[0].head.name, 'yesno')
  t.is(await accuracy(t, [model, '--head', join(checkpoint, 'yesno')]), measured)
})

test.serial(
  'inspect tells where a checkpoint stands and with what it was trained, and lists those of a run',
  async (t) => {
    const folder = join(place, 'head')
    const all = join(folder, 'checkpoints')
    const one = await command(['inspect', join(all, 'checkpoint-8')])
    t.is(one.status, 0, one.errors)
    t.regex(one.output, /checkpoint at step 8, epoch 2\.00\n/)
    t.regex(one.output, /\n {2}learningRate +0\.01\n/)
    t.regex(one.output, /\n {2}rows +64\n/)
    const { checkpoint } = JSON.parse((await command(['inspect', '--json', join(all, 'checkpoint-8')])).output)
    t.like(checkpoint, { step: 8, epoch: 2, run: { learningRate: 0.01, numTrainEpochs: 3, seed: 3 } })

    const list = await command(['inspect', all])
    t.is(list.status, 0, list.errors)
    t.regex(
      list.output,
      /checkpoints\n {2}checkpoint-4 {3}[\d.]+ kB\n {2}checkpoint-8 {3}[\d.]+ kB\n {2}checkpoint-12 {2}[\d.]+ kB, the newest\n/
    )
    const run = JSON.parse((await command(['inspect', '--json', folder])).output)
    t.is(run.head.name, 'yesno')
    t.deepEqual(
      run.checkpoints.map(({ step, newest }: { step: number; newest: boolean }) => [step, newest]),
      [
        [4, false],
        [8, false],
        [12, true]
      ]
    )
    t.true(run.checkpoints[0].bytes > 1000)
  }
)

test.serial('--tune head in the other formats', async (t) => {
  for (const [format, file] of [
    ['bin', 'pytorch_model_head.bin'],
    ['pt', 'model_head.pt']
  ] as const) {
    const folder = join(place, `head-${format}`)
    await train(t, folder, ['--tune', 'head', '--format', format])
    t.true(existsSync(join(folder, file)))
    t.is(await accuracy(t, [model, '--head', folder]), await accuracy(t, [model, '--head', join(place, 'head')]))
  }
})

test.serial('--tune full: a model with its head, which --model takes', async (t) => {
  const folder = join(place, 'full')
  const { output, errors } = await train(t, folder, ['--tune', 'full', '--eval', rows, '--save', 'epoch'])
  t.regex(output, /^the model with its head 'yesno' \([\d,]+ parameters\) is in /)
  t.deepEqual(readdirSync(folder).sort(), [
    'checkpoints',
    'config.json',
    'events.jsonl',
    'head_config.json',
    'model.safetensors',
    'model_head.safetensors',
    'report.html',
    'train.json'
  ])
  const weights = (of: string) => readFileSync(join(of, 'model.safetensors'))
  t.notDeepEqual(weights(folder), weights(model))
  const measured = await accuracy(t, [folder])
  t.true(measured > 0.9)
  t.true(errors.includes(`accuracy ${measured.toFixed(4)}`), errors)
  t.is(await accuracy(t, [folder, '--head', folder]), measured)
  const inspected = JSON.parse((await command(['inspect', '--json', folder])).output)
  t.is(inspected.model.hidden_size, 32)
  t.is(inspected.head.name, 'yesno')

  // It is a model like any other: an adapter trains on it.
  const adapter = join(place, 'on-full')
  const next = await command(['train', ...shared, folder, '-o', adapter, ...recipe, '--max-steps', '1'])
  t.is(next.status, 0, next.errors)
  t.is((await command(['evaluate', ...shared, folder, '-a', adapter, '-d', rows])).status, 0)
})

test.serial('full fine-tuning goes on from a checkpoint as if it had not stopped', async (t) => {
  const first = join(place, 'resumed')
  const args = ['--tune', 'full', '--save', 'epoch']
  await train(t, first, args)
  // What an interruption after the first epoch leaves.
  const again = join(place, 'resumed-again')
  cpSync(join(first, 'checkpoints', 'checkpoint-4'), join(again, 'checkpoints', 'checkpoint-4'), { recursive: true })
  await train(t, again, [...args, '--resume'])
  const elsewhere = join(place, 'resumed-elsewhere')
  const { errors } = await train(t, elsewhere, [
    ...args,
    ...['--resume-from', join(first, 'checkpoints', 'checkpoint-8')]
  ])
  t.notRegex(errors, /checkpoint-8/)
  for (const folder of [again, elsewhere]) {
    for (const file of ['model.safetensors', 'model_head.safetensors']) {
      t.deepEqual(readFileSync(join(folder, file)), readFileSync(join(first, file)))
    }
  }
})

test.serial('--json says what was tuned', async (t) => {
  for (const [tune, adapter] of [
    ['adapter', 'yesno'],
    ['head', null],
    ['full', null]
  ] as const) {
    const folder = join(place, `json-${tune}`)
    const { output } = await train(t, folder, ['--tune', tune, '--max-steps', '1', '--json'])
    const result = lines(output).at(-1)
    t.like(result, { type: 'result', tune, folder, name: 'yesno' })
    t.is(result.adapter?.name ?? null, adapter)
    t.true(result.trainable_parameters >= 1122)
  }
})

test.serial('combinations that mean nothing are refused before anything is loaded', async (t) => {
  const folder = join(place, 'never')
  const base = ['train', ...shared, model, ...recipe]
  const cases: [string[], RegExp][] = [
    [[...base, '-o', folder, '--tune', 'heads'], /--tune: expected one of 'adapter', 'head', 'full', got 'heads'/],
    [
      [...base, '-o', folder, '--tune', 'head', '--config', 'seq_bn'],
      /--config: expected only with --tune adapter, got 'seq_bn' with --tune head/
    ],
    [
      [...base, '-o', folder, '--tune', 'full', '--format', 'bin'],
      /--format: expected safetensors with --tune full, got 'bin'/
    ],
    [
      [...base, '-o', join(place, 'json-adapter'), '--tune', 'head'],
      /--output: expected a folder that is new or holds a head, for --tune head, got .*, which holds an adapter/
    ],
    [[...base, '-o', model], /--output: expected .* for --tune adapter, got .*, which holds a model/],
    [
      ['predict', ...shared, model, '-a', 'x', '-a', 'z', '--head', 'y', '-i', rows],
      /--head: expected at most one --adapter below it, got x and z/
    ],
    [['evaluate', ...shared, model, '-d', rows], /--adapter is missing: expected .*a --model whose folder holds a head/]
  ]
  for (const [args, message] of cases) {
    const { status, errors } = await command(args)
    t.is(status, 2, args.join(' '))
    t.regex(errors, message)
  }
  t.false(existsSync(folder))
  const none = await command(['evaluate', ...shared, model, '--head', model, '-d', rows])
  t.is(none.status, 1)
  t.regex(none.errors, /holds no head \(expected head_config\.json and one of model_head\.safetensors/)
  const adapter = await command(['evaluate', ...shared, model, '--head', join(place, 'json-adapter'), '-d', rows])
  t.is(adapter.status, 2)
  t.regex(adapter.errors, /--head: expected a head alone, got .*, which holds an adapter: give it as --adapter/)
  const head = await command(['evaluate', ...shared, model, '--adapter', join(place, 'head'), '-d', rows])
  t.is(head.status, 1)
  t.regex(head.errors, /holds no adapter .*looks like a head alone/)
})

test.serial('a row names no adapter where a head answers alone', async (t) => {
  const input = join(place, 'wrong.jsonl')
  writeFileSync(input, '{"input_ids": [2, 3], "adapter": "a"}\n')
  const { status, errors } = await command(['predict', ...shared, model, '--head', join(place, 'head'), '-i', input])
  t.is(status, 1)
  t.regex(errors, /wrong\.jsonl:1: no adapter 'a' \(expected no "adapter", because none is loaded\)/)
})

test.serial('what Model.save wrote answers as it was; what trains over it is measured as it is used', async (t) => {
  const whole = join(place, 'whole')
  const saved = await AutoModel.fromPretrained(model)
  await saved.loadAdapter(join(place, 'json-adapter'), { as: 'old', setActive: true })
  await saved.save(whole)
  saved.dispose()
  const measure = async (args: readonly string[]) => {
    const { status, output, errors } = await command(['evaluate', ...shared, ...args, '-d', rows, '--json'])
    t.is(status, 0, errors)
    return JSON.parse(output)
  }
  const alone = await measure([model, '-a', join(place, 'json-adapter')])
  t.is((await measure([whole])).loss, alone.loss)
  const { errors, output } = await command(['predict', ...shared, whole, '-i', rows])
  const direct = await command(['predict', ...shared, model, '-a', join(place, 'json-adapter'), '-i', rows])
  t.is(output, direct.output, errors)
  const named = await command(['predict', ...shared, whole, '-a', `old=${join(place, 'json-adapter')}`, '-i', rows])
  t.regex(named.errors, /--adapter: the model's folder holds an adapter called 'old', too\. .*--adapter old-2=/)
  for (const tuning of ['head', 'full']) {
    const folder = join(place, `over-${tuning}`)
    const args = ['train', ...shared, whole, '-o', folder, ...recipe, '--eval', rows, '--tune', tuning, '--json']
    const trained = await command(args)
    t.is(trained.status, 0, trained.errors)
    t.regex(trained.errors, /the model's folder has 'old' active, which takes no part/)
    const { events } = JSON.parse(trained.output.trim().split('\n').at(-1) ?? '')
    const { loss, metrics } = events.find(({ type }: { type: string }) => type === 'evaluate')
    const used = await measure(tuning === 'head' ? [whole, '--head', folder] : [folder])
    t.true(Math.abs(used.loss - loss) < 1e-6, `${used.loss} and ${loss}`)
    t.is(used.metrics.accuracy, metrics.accuracy)
  }
  const again = await command(['train', ...shared, whole, '-o', join(place, 'again'), ...recipe, '--name', 'old'])
  t.is(again.status, 2)
  t.regex(again.errors, /--name: the model's folder holds an adapter called 'old', too; give what trains another name/)
  const above = await measure([model, '-a', join(place, 'json-adapter'), '--head', join(place, 'head')])
  t.is(above.head, 'yesno')
  t.not(above.loss, (await measure([model, '--head', join(place, 'head')])).loss)
})
