import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Random } from '../../lib/data/random.js'
import { repository } from '../native/support.js'
import { command, fixtures, scratch } from './command.js'

const place = scratch()
const model = join(repository, fixtures, 'models/bert-tiny')

/** Rows whose label their second id tells. */
function rowsIn(name: string, labels: readonly [string, string]): string {
  const random = Random.fromSeed(1)
  const lines = Array.from({ length: 48 }, () => {
    const label = random.nextBelow(2)
    return JSON.stringify({ input_ids: [5 + random.nextBelow(80), 91 + label], label: labels[label] })
  })
  const file = join(place, name)
  writeFileSync(file, `${lines.join('\n')}\n`)
  return file
}

test('a run whose best checkpoint is damaged goes on without it, and does not say that it kept it', async (t) => {
  const folder = join(place, 'mood')
  // The more it learns, the worse it gets: its first evaluation is the best.
  const files = ['--train', rowsIn('train.jsonl', ['no', 'yes']), '--eval', rowsIn('eval.jsonl', ['yes', 'no'])]
  const options = ['--best', 'loss', '--save', 'epoch', '--epochs', '3', '--learning-rate', '0.01', '--threads', '1']
  const first = await command(['train', '-m', model, ...files, '-o', folder, ...options])
  t.is(first.status, 0, first.errors)
  t.regex(first.errors, /best loss [\d.]+ at step 3$/m)
  t.deepEqual(readdirSync(join(folder, 'checkpoints')).toSorted(), ['checkpoint-3', 'checkpoint-6', 'checkpoint-9'])
  rmSync(join(folder, 'checkpoints/checkpoint-3/mood/adapter.safetensors'))
  const refused = await command(['resume', folder, '--epochs', '4'])
  t.is(refused.status, 1)
  const advice = `torch-adapters resume ${folder} --load-best-model-at-end false`
  t.true(refused.errors.includes(`Go on without it: ${advice}`), refused.errors)
  const again = await command(['resume', folder, '--epochs', '4', '--load-best-model-at-end', 'false'])
  t.is(again.status, 0, again.errors)
  const kept = /best loss [\d.]+ at step 3 \(not kept: the last step is\)/
  t.regex(again.errors, kept)
  t.regex(readFileSync(join(folder, 'report.html'), 'utf8'), kept)
})
