// What is wrong with a training run is said before it begins.
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { command, scratch } from './command.js'
import { tinyModel } from './tiny-model.js'

const place = scratch()
const model = tinyModel
const rows = join(place, 'rows.jsonl')
const shared = ['--model', model, '--threads', '1']

test.before(() => {
  writeFileSync(rows, '{"input_ids": [5, 91], "label": "yes"}\n{"input_ids": [6, 92], "label": "no"}\n')
})

test.serial('mistakes are found before anything is loaded', async (t) => {
  const folder = join(place, 'never')
  const cases: Mistake[] = [
    [['train', '--model', 'nowhere/none'], 2, /--train is missing/],
    [['train', '--train', 'nowhere.jsonl', '-m', model, '-o', folder], 2, /--train: nowhere\.jsonl does not exist/],
    [
      ['train', '--train', rows, '--train', 'more.jsonl', '-m', model, '-o', folder],
      2,
      /--train: expected one file, got '.*rows\.jsonl', 'more\.jsonl'/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--epochs', 'many'],
      2,
      /--epochs: expected a number, got 'many'/
    ],
    [['train', '--train', rows, '-m', model, '-o', folder, '--config', 'seq_bm'], 2, /Did you mean 'seq_bn'\?/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--set', 'lrSheduler=linear'], 2, /got 'lrSheduler'/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--set', 'warmupStep=1'], 2, /Did you mean 'warmupSteps'\?/],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--set', 'foo=1'],
      2,
      /--set: expected an argument that --help lists, got 'foo'\. See torch-adapters train --help\n$/
    ],
    [['train', '--train', rows, '-m', model, '-o', folder, '--learning-rte', '1'], 2, /did you mean '--learning-rate'/],
    ...misspelled.map(
      ([given, meant]): Mistake => [
        ['train', '--train', rows, '-m', model, '-o', folder, `--${given}=1`],
        2,
        new RegExp(`did you mean '--${meant}'`)
      ]
    ),
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--resume'],
      2,
      /--resume: no run is in .*never to go on with\. Leave/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--resume-from', place],
      2,
      /--resume-from: expected the folder of a checkpoint, got .*, which has no training\.safetensors/
    ],
    [['train', '--train', rows, '-m', model, '-o', folder, '--resume', '--resume-from', place], 2, /got both/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--name', 'a.b'], 2, /a name cannot hold a point/],
    [['train', '--train', rows, '-m', join(place, 'none', 'x'), '-o', folder], 2, /does not exist/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--epochs', '-1'], 2, /^.*--epochs: expected a value.*\n$/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--epochs=-1'], 2, /train: --epochs: .*above 0, got -1/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--lr', '1'], 2, /did you mean '--learning-rate'/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--device', 'tpu'], 2, /device: expected 'cpu'.*got 'tpu'/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--config', './nothere.json'], 2, /nothere\.json/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--set', 'evalStrategy=epoch'], 2, /--eval FILE, got none/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--set', 'seed=1'], 2, /--set: expected --seed alone/],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--epochs', '2', '--set', 'numTrainEpochs=3'],
      2,
      /--set: expected --epochs alone, got 'numTrainEpochs=3'/
    ],
    [['train', '--train', rows, '-m', model, '-o', folder, '--best', 'loss'], 2, /--best: .*--eval FILE, got none/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--early-stopping', '2'], 2, /--eval FILE, got none/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--optim', 'lions'], 2, /Did you mean 'lion'/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--optim-args', 'momentum'], 2, /expected NAME=VALUE,/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--optim-args', 'momentum=0.9'], 2, /'adamw' does not take/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--lr-scheduler', 'cosin'], 2, /Did you mean 'cosine'/],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--set', 'optimArgs=1'],
      2,
      /--set: expected --optim-args alone/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--max-tokens', '99', '--batch-size', '4'],
      2,
      /--max-tokens: .*leave out --batch-size/
    ],
    [['train', '--train', rows, '-m', model, '-o', folder, '--batch-size', '0'], 2, /train: --batch-size: .*got 0/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--num-train-epochs=-1'], 2, /train: --epochs: .*got -1/],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--max-grad-norm=-1'],
      2,
      /train: --max-grad-norm: .*got -1/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--set', 'maxGradNorm=-1'],
      2,
      /--set maxGradNorm: .*got -1/
    ],
    [['train', '--train', rows, '-m', model, '-o', folder, '--set=evalSteps=0'], 2, /train: --set evalSteps: .*got 0/],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--head-learning-rate=-1'],
      2,
      /train: --head-learning-rate: .*got -1/
    ],
    [['train', '--train', rows, '-m', model, '-o', folder, '--labels', 'yes'], 2, /at least two names/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--labels', 'yes,'], 2, /names with commas between/],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--config', 'compacter'],
      2,
      /reductionFactor, such as 4 and 8/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--config', 'seq_bn[leave_out=[0, 1]]'],
      2,
      /leaveOut: all 2 layers are left out/
    ],
    [['train', 'nosuch.yaml', '-m', model, '-o', folder], 2, /CONFIG: nosuch\.yaml does not exist; expected a file of/],
    [
      ['train', '--train', rows, '--eval', rows, '-m', model, '-o', folder, '--best', 'acuracy'],
      2,
      /--best: no evaluation has 'acuracy'\. Did you mean 'accuracy'\?/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--set', 'bf16=true'],
      2,
      /--set: 'bf16' is no argument here: .*on the command line --trunk bfloat16/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--warmup-steps', '0.1'],
      2,
      /as a share of all steps warmupRatio: 0\.1/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--max-grad-norm', '1', '--set', 'maxGradNorm=2'],
      2,
      /--set: expected either --max-grad-norm or --set, got both/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--head-learning-rate', '1', '--parameter-groups', '[]'],
      2,
      /--head-learning-rate: expected either it or --parameter-groups/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--parameter-groups', '[{"match": "heads"}]'],
      2,
      /--parameter-groups\[0\]: expected learningRate, weightDecay or both|Did you mean 'head'/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--fp16'],
      2,
      /unknown option '--fp16': what trains is float32/
    ],
    [['train', '--train', rows, '-m', model, '-o', folder, '--grad-clip', '1'], 2, /did you mean '--max-grad-norm'/],
    [['train', rows], 2, /CONFIG: expected a file of options, JSON or YAML, got .*: rows are given as --train/],
    [['train', '--train', rows, '-m', model, '-o', folder, '--report-to', 'htm'], 2, /Did you mean 'html'/],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--eval-on-start'],
      2,
      /train: --eval-on-start: expected rows/
    ],
    [
      ['train', '--train', rows, '-m', model, '-o', folder, '--recipe', 'tagging'],
      2,
      /expected one of 'adapter', .* got 'tagging', which is a config of its own: give .*recipes.tagging\.yaml as CONFIG/
    ],
    [['predict', '--model', model, '--input', rows], 2, /--adapter is missing/],
    [['evaluate', '--model', model, '--adapter', folder], 2, /--data is missing/]
  ]
  for (const [args, status, message] of cases) {
    const outcome = await command(args)
    t.is(outcome.status, status, args.join(' '))
    t.regex(outcome.errors, message)
    t.notRegex(outcome.errors, /\n\s+at /)
  }
  t.false(existsSync(folder))
})

test.serial('a run that fails leaves no empty folder', async (t) => {
  const failed = join(place, 'failed')
  const broken = join(place, 'broken.jsonl')
  writeFileSync(broken, '{"input_ids": [5, 900000], "label": "yes"}\n{"input_ids": [5], "label": "no"}\n')
  t.is((await command(['train', ...shared, '--train', broken, '-o', failed])).status, 1)
  t.false(existsSync(failed))
})

test.serial('a row without a label: the error knows the heads that need none', async (t) => {
  const file = join(place, 'unlabelled.jsonl')
  writeFileSync(file, '{"input_ids": [5, 6], "label": "yes"}\n{"input_ids": [5]}\n')
  const { status, errors } = await command(['train', ...shared, '--train', file, '-o', join(place, 'never')])
  t.is(status, 1)
  t.regex(errors, /unlabelled\.jsonl:2.*: this row has no label\. Heads for words need none: .*--head masked-lm/)
})

type Mistake = [argv: string[], status: number, message: RegExp]

// Options by the arguments' own names, too.
const misspelled = [
  ['per-device-train-batch-sise', 'per-device-train-batch-size'],
  ['save-stratexy', 'save-strategy'],
  ['num-train-epocxs', 'num-train-epochs'],
  ['max-tokens-per-batxh', 'max-tokens-per-batch'],
  ['early-stopping-patienxe', 'early-stopping-patience'],
  ['resume-from-checkpoixt', 'resume-from']
]

test('labels and cells that cannot be meant are told with their line, on one line', async (t) => {
  const train = async (name: string, text: string, ...more: string[]) => {
    const file = join(place, name)
    writeFileSync(file, text)
    return await command([
      'train',
      ...shared,
      '--train',
      file,
      '-o',
      join(place, `of-${name}`),
      '--max-steps',
      '1',
      ...more
    ])
  }
  const ids = '{"input_ids": [5, 91], "label": 0}\n{"input_ids": [6, 92], "label": 3000000000}\n'
  const huge = await train('huge.jsonl', ids)
  t.is(huge.status, 1, huge.errors)
  t.regex(
    huge.errors,
    /huge\.jsonl:2\.label: expected the id of a class, from 0 to 999999, got 3000000000\. Numbers that/
  )
  t.is((await train('values.jsonl', ids, '--head', 'regression')).status, 0)
  t.is((await train('names.jsonl', ids, '--labels', '0,3000000000')).status, 0)
  const cell = await train('cell.csv', 'input_ids,label\n"5 91,a\n6 92,b\n')
  t.is(cell.status, 1)
  t.regex(cell.errors, /^[^\n]*cell\.csv:2: quotes do not pair up .*got '"5 91,a\\n6 92,b\\n'\)[^\n]*\n$/)
})
