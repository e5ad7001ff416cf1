import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { repository, temporaryFolder } from '../native/support.js'
import { scriptFile } from '../setup/script.js'

const run = promisify(execFile)
const committed = join(repository, 'models', 'wordnet-bert-mini')

// A few steps of the run that made the quickstart's encoder: its command, its curve, and that it goes on where it was.
test('the encoder of the quickstart is pretrained, in two parts, and opens', async (t) => {
  const folder = temporaryFolder(t)
  const model = join(folder, 'model')
  mkdirSync(model)
  for (const file of ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'vocab.txt'])
    copyFileSync(join(committed, file), join(model, file))
  const pretrain = (tokens: string) =>
    run(process.execPath, [
      scriptFile('pretrain/pretrain.mjs'),
      ...[
        '--model',
        model,
        '--out',
        join(folder, 'out'),
        '--tokens',
        tokens,
        '--batch-tokens',
        '512',
        '--dev-steps',
        '2'
      ]
    ])
  await pretrain('1024')
  await pretrain('2048')
  const [, ...lines] = readFileSync(join(folder, 'out', 'curve.csv'), 'utf8')
    .trim()
    .split('\n')
  t.deepEqual(
    lines.map((line) => line.split(',')[0]),
    ['2', '4']
  )
  const losses = lines.map((line) => Number(line.split(',')[6]))
  t.true(losses.every((loss) => loss > 0 && loss < 9.5))
  t.is(statSync(join(model, 'model.safetensors')).size, statSync(join(committed, 'model.safetensors')).size)
  const encoder = await AutoModel.fromPretrained(model)
  const { lastHiddenState } = await encoder.forward({ inputIds: [[2, 7, 3]] })
  t.is(lastHiddenState?.shape.at(-1), 128)
})

test('an option that is not there, and a number that is none, are one line', async (t) => {
  const failed = (...args: string[]) =>
    t.throwsAsync<Error & { stderr: string }>(run(process.execPath, [scriptFile('pretrain/pretrain.mjs'), ...args]))
  t.regex((await failed('--tokns', '5')).stderr, /^\s*Unknown option '--tokns'[^\n]*\n/)
  t.regex((await failed('--tokens', 'many')).stderr, /--tokens: expected a number above 0, got many/)
})
