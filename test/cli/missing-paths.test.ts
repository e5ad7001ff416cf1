// One rule for all commands: a path that is not there is a wrong use.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { command, scratch } from './command.js'
import { tinyModel } from './tiny-model.js'

const place = scratch()
const rows = join(place, 'rows.jsonl')
const none = join(place, 'none', 'x')

test.before(() => {
  writeFileSync(rows, '{"input_ids": [5, 91], "label": "yes"}\n{"input_ids": [6, 92], "label": "no"}\n')
})

const trains = ['--model', tinyModel, '--train', rows, '--output', join(place, 'never')]
const answers = ['--model', tinyModel, '--data', rows]
const calls: Readonly<Record<string, readonly string[]>> = {
  'inspect FOLDER': ['inspect', none],
  'convert SOURCE': ['convert', none, join(place, 'target')],
  'resume FOLDER': ['resume', none],
  'watch FOLDER': ['watch', none],
  'train --model': ['train', ...trains, '--model', none],
  'train --train': ['train', ...trains, '--train', none],
  'train --eval': ['train', ...trains, '--eval', none],
  'train --below': ['train', ...trains, '--below', none],
  'train --config': ['train', ...trains, '--config', `${none}.json`],
  'train CONFIG': ['train', `${none}.yaml`],
  'train --tasks': ['train', '--model', tinyModel, '--tasks', none, '--output', join(place, 'never')],
  'train --resume-from': ['train', ...trains, '--resume-from', none],
  'sweep --model': ['sweep', ...trains, '--model', none, '--vary', 'learningRate=0.1,0.2'],
  'fuse --adapter': ['fuse', ...trains, '--adapter', none, '--adapter', `${none}y`],
  'evaluate --model': ['evaluate', ...answers, '--model', none, '--adapter', none],
  'evaluate --adapter': ['evaluate', ...answers, '--adapter', none],
  'evaluate --head': ['evaluate', ...answers, '--head', none],
  'evaluate --setup': ['evaluate', ...answers, '--setup', none],
  'evaluate --data': ['evaluate', '--model', tinyModel, '--adapter', none, '--data', none],
  'predict --input': ['predict', '--model', tinyModel, '--input', none],
  'predict --adapter': ['predict', '--model', tinyModel, '--input', rows, '--adapter', none],
  'generate --model': ['generate', '--model', none, '--input', rows],
  'install-libtorch --file': ['install-libtorch', '--file', none]
}

for (const [name, args] of Object.entries(calls)) {
  test(`${name} that is not there ends with 2, a line that names it, and the way to --help`, async (t) => {
    const { status, output, errors } = await command(args)
    t.is(status, 2, errors)
    t.is(output, '')
    t.true(errors.includes(join(place, 'none')), errors)
    t.true(errors.trimEnd().endsWith(`See torch-adapters ${args[0]} --help`), errors)
    t.is(errors.trimEnd().split('\n').length, 1)
  })
}
