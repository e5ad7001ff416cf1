import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { gridOf } from '../../lib/cli/sweep.js'
import { Random } from '../../lib/data/random.js'
import { repository } from '../native/support.js'
import { command, fixtures, interrupted, scratch } from './command.js'

const place = scratch()
const model = join(repository, fixtures, 'models/bert-tiny')
const rows = join(place, 'rows.jsonl')
const shared = ['-m', model, '--train', rows, '--eval', rows, '--threads', '1', '--seed', '3']

test.before(() => {
  const random = Random.fromSeed(1)
  const lines = Array.from({ length: 48 }, () => {
    const label = random.nextBelow(2)
    return JSON.stringify({ input_ids: [5 + random.nextBelow(80), 91 + label], label: ['no', 'yes'][label] })
  })
  writeFileSync(rows, `${lines.join('\n')}\n`)
})

test('commas in brackets part nothing; a name that varies twice is refused', (t) => {
  t.deepEqual(gridOf(['config=lora[r=4,alpha=8], seq_bn', 'learningRate=1e-3,0.1']), {
    config: ['lora[r=4,alpha=8]', 'seq_bn'],
    learningRate: [1e-3, 0.1]
  })
  t.deepEqual(gridOf(['config=["lora[r=4,alpha=8]","seq_bn"]', 'leave_out=[[0],[1]]']), {
    config: ['lora[r=4,alpha=8]', 'seq_bn'],
    leave_out: [[0], [1]]
  })
  t.throws(() => gridOf(['learningRate=1e-3,1e-2', 'learningRate=1e-3']), {
    message: '--vary: expected the values of learningRate in one list, got two'
  })
})

test('a sweep keeps the best of its adapters, which answers as it was measured', async (t) => {
  const folder = join(place, 'mood')
  const vary = ['--vary', 'learningRate=0.02,1e-7', '--vary', 'config=["seq_bn[reduction_factor=4]","lora[r=2]"]']
  const { status, output, errors } = await command(['sweep', ...shared, '-o', folder, '--epochs', '6', ...vary])
  t.is(status, 0, errors)
  t.regex(
    output,
    /^adapter +learningRate +config +parameters +training loss +evaluated at step +evaluation loss +accuracy/
  )
  const [, first = ''] = output.split('\n')
  const [best = '', rate] = first.split(/ {2,}/)
  t.is(rate, '0.02')
  t.true(output.endsWith(`the best, '${best}', is in ${folder}\n`))
  t.is(output.split('\n').length, 7)
  t.regex(errors, /^mood-4: step 18, epoch 6\.00: evaluation loss/m)
  const { metrics } = JSON.parse((await command(['evaluate', '-m', model, '-a', folder, '-d', rows, '--json'])).output)
  t.is(
    metrics.accuracy.toFixed(4),
    /accuracy ([\d.]+)/.exec(errors.split('\n').findLast((line) => line.startsWith(`${best}: step 18,`)) ?? '')?.[1]
  )
  t.true(existsSync(join(folder, 'report.html')))
  t.is(readFileSync(join(folder, 'adapter_config.json'), 'utf8').includes(`"name": "${best}"`), true)
})

test('a sweep above an adapter that has learned before, which stays as it is', async (t) => {
  const [language, folder] = [join(place, 'en'), join(place, 'above')]
  const first = await command(['train', ...shared, '-o', language, '--epochs', '2', '--learning-rate', '0.01'])
  t.is(first.status, 0, first.errors)
  const weights = readFileSync(join(language, 'adapter.safetensors'))
  const run = ['--vary', 'seed=1,2', '--below', language, '--epochs', '2', '--save', 'epoch']
  const { status, output, errors } = await command(['sweep', ...shared, '-o', folder, ...run])
  t.is(status, 0, errors)
  t.regex(output, /it stands above en: evaluate --adapter en=\S+ --adapter \S+ --setup 'Stack\[en, above-[12]\]'\n$/)
  t.deepEqual(readFileSync(join(language, 'adapter.safetensors')), weights)
  const setup = ['--setup', /Stack\[en, above-[12]\]/.exec(output)?.[0] ?? '']
  const data = ['-d', rows, '--json', '-a', `en=${language}`, '-a', folder]
  const { metrics } = JSON.parse((await command(['evaluate', '-m', model, ...data, ...setup])).output)
  const name = /above-[12]/.exec(setup[1] ?? '')?.[0] ?? ''
  t.true(
    errors.split('\n').some((line) => line.startsWith(`${name}: step 6,`) && line.includes(metrics.accuracy.toFixed(4)))
  )
  const again = await command(['resume', folder, '--epochs', '3'])
  t.is(again.status, 0, again.errors)
})

test('--plan prints what memory a sweep takes, and writes nothing', async (t) => {
  const folder = join(place, 'planned')
  const vary = ['--vary', 'learningRate=0.02,0.01,0.005', '--plan']
  const text = await command(['sweep', ...shared, '-o', folder, ...vary])
  t.is(text.status, 0, text.errors)
  t.regex(text.output, /^parameters .*\n(.*\n)*Activations were measured on the largest micro-batch: 16 rows/)
  const { output } = await command(['sweep', ...shared, '-o', folder, ...vary, '--json'])
  const plan = JSON.parse(output)
  t.is(plan.type, 'plan')
  t.is(plan.gradients, plan.parameters.trained)
  // Arguments for all are those of what varies.
  const momentum = ['--vary', 'optim=sgd', '--optim-args', 'momentum=0.9', '--plan']
  t.is((await command(['sweep', ...shared, '-o', folder, ...momentum])).status, 0)
  t.false(existsSync(folder))
})

test('a sweep in a config, interrupted and resumed, ends as one that was not', async (t) => {
  const content = {
    ...{
      model,
      train: rows,
      eval: rows,
      threads: 1,
      seed: 3,
      numTrainEpochs: 80,
      config: 'seq_bn[reduction_factor=4]'
    },
    ...{ name: 'a', sweep: { learningRate: [0.02, 0.01] } }
  }
  const config = join(place, 'sweep.json')
  writeFileSync(config, JSON.stringify(content))
  const [whole, stopped] = [join(place, 'whole'), join(place, 'stopped')]
  const through = await command(['sweep', config, '-o', whole, '--json'])
  t.is(through.status, 0, through.errors)
  const result = JSON.parse(through.output.trim().split('\n').at(-1) ?? '')
  t.deepEqual(
    result.members.map(({ values }: { values: object }) => values),
    [{ learning_rate: 0.02 }, { learning_rate: 0.01 }]
  )
  const { errors: stopErrors } = await interrupted(['sweep', config, '-o', stopped], 'step 9,')
  t.regex(stopErrors, /interrupted after step \d+, saved .*; go on with: torch-adapters resume .*stopped\n$/)
  t.is(readdirSync(join(stopped, 'checkpoints')).length, 1)
  // As it was when nothing had been saved.
  const begun = join(place, 'begun')
  cpSync(stopped, begun, { recursive: true, filter: (source) => !/checkpoints$/.test(source) })
  const nothing = await command(['resume', begun])
  t.is(nothing.status, 2, nothing.errors)
  t.regex(
    nothing.errors,
    /there are no checkpoints in .*: torch-adapters sweep \S+train\.json --output \S+begun --overwrite/
  )
  const resumed = await command(['resume', stopped])
  t.is(resumed.status, 0, resumed.errors)
  const file = (folder: string) => readFileSync(join(folder, 'adapter.safetensors'))
  t.true(file(stopped).equals(file(whole)))
  const finished = await command(['resume', stopped])
  t.is(finished.status, 0, finished.errors)
  t.regex(finished.output, /stopped is finished, at step 240: .* anew: torch-adapters sweep .*train\.json/)
  const wrong = await command(['train', config, '-o', join(place, 'never')])
  t.is(wrong.status, 2)
  t.regex(wrong.errors, /sweep\.json has a sweep: give it to torch-adapters sweep/)
  for (const [field, message] of [
    [{ fusion: 'dynamic' }, /other\.json has a fusion: give it to torch-adapters fuse/],
    [{ onNotFinite: 'stopTask' }, /other\.json has onNotFinite: give it to torch-adapters train/]
  ] as const) {
    const other = join(place, 'other.json')
    writeFileSync(other, JSON.stringify({ ...content, ...field }))
    const refused = await command(['sweep', other, '-o', join(place, 'never')])
    t.is(refused.status, 2)
    t.regex(refused.errors, message)
  }
})

test('mistakes are found before a model is loaded', async (t) => {
  const folder = join(place, 'never')
  for (const [args, message] of [
    [[], /--vary is missing/],
    [['--vary', 'learningRate'], /--vary: expected NAME=A,B/],
    [['--vary', 'config=["seq_bn"'], /--vary: expected a list in JSON/],
    [['--vary', 'seed=1,2', '--tune', 'head'], /--tune: a sweep is one of adapters, got 'head'/]
  ] as const) {
    const { status, errors } = await command(['sweep', ...shared, '-o', folder, ...args])
    t.is(status, 2, errors)
    t.regex(errors, message)
  }
  for (const [vary, message] of [
    [
      'reduction_facto=1,2',
      /--vary\.reduction_facto: nothing of that name can vary\. Did you mean 'reductionFactor'\?/
    ],
    ['learning_rate=1,2', /--vary\.learning_rate: .*Did you mean 'learningRate'\?/],
    ['learningRat=1,2', /--vary\.learningRat: .*Did you mean 'learningRate'\?/],
    ['lr=1,2', /--vary\.lr: 'lr' is called 'learningRate' here/],
    [
      'zzzzzz=1',
      /--vary\.zzzzzz: nothing of that name can vary\. These may: config, seed, learningRate, .*reductionFactor/
    ],
    ['perDeviceTrainBatchSize=8,16', /--vary\.perDeviceTrainBatchSize: all of a sweep read the same batches/],
    ['maxSteps=8,16', /--vary\.maxSteps: all of a sweep train in the same steps/],
    ['learningRate=-1', /learningRate: expected a number at least 0/],
    ['config=seq_bm', /Did you mean 'seq_bn'/]
  ] as const) {
    const { status, errors } = await command(['sweep', ...shared, '-o', folder, '--vary', vary])
    t.is(status, 2, errors)
    t.regex(errors, message)
  }
  for (const [given, message] of [
    [
      ['--vary', 'labelSmoothingFactor=0,0.2'],
      /--vary labelSmoothingFactor: .* the loss does not .*: --best accuracy\. See/
    ],
    [['--vary', 'classWeights=["balanced",[1,2]]', '--best', 'loss'], /--vary classWeights: .*: --best accuracy\. See/]
  ] as const) {
    const { status, errors } = await command(['sweep', ...shared, '-o', folder, ...given])
    t.is(status, 2, errors)
    t.regex(errors, message)
  }
  const unmeasured = ['-m', model, '--train', rows, '-o', folder, '--vary', 'labelSmoothingFactor=0,0.2']
  const training = await command(['sweep', ...unmeasured])
  t.is(training.status, 2)
  t.regex(training.errors, /the loss of training does not .*: --eval FILE and --best accuracy\. See/)
  const best = await command(['sweep', ...shared, '-o', folder, '--vary', 'seed=1,2', '--best', 'acuracy'])
  t.is(best.status, 2)
  t.regex(best.errors, /--best: no evaluation has 'acuracy'\. Did you mean 'accuracy'\?/)
  t.false(existsSync(folder))
})

test('the help of commands that train names all that they take, and nothing that they refuse', async (t) => {
  for (const name of ['sweep', 'fuse']) {
    const { output } = await command([name, '--help'])
    for (const option of [
      'model',
      'train',
      'eval',
      'output',
      'head',
      'labels',
      'format',
      'set',
      'overwrite',
      'resume'
    ]) {
      t.regex(output, new RegExp(`^  (--head KIND, )?--${option} `, 'm'), `${name} --${option}`)
    }
    t.notRegex(output, /--tune/)
    t.regex(output, /maxGradNorm, /)
    for (const line of output.split('\n')) t.true(line.length <= 120, line)
  }
})
