import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { command, fixtures, scratch } from './command.js'

const place = scratch()
const shared = ['--model', join(fixtures, 'models/vit-tiny'), '--threads', '1']

test('images in JSONL: a head for images is trained, measured and answers', async (t) => {
  const rows = join(place, 'images.jsonl')
  const lines = [0, 1, 2, 3].map((i) => {
    const pixels = Array.from({ length: 48 }, (_, k) => (i % 2 === 0 ? k : 48 - k) / 48 + 0.1 * i)
    return JSON.stringify({ id: i, pixel_values: pixels, label: i % 2 === 0 ? 'rising' : 'falling' })
  })
  writeFileSync(rows, lines.join('\n'))
  const folder = join(place, 'slope')
  const recipe = ['--max-steps', '60', '--learning-rate', '0.02', '--config', 'double_seq_bn[reduction_factor=1]']
  const trained = await command(['train', ...shared, '--train', rows, '-o', folder, ...recipe])
  t.is(trained.status, 0, trained.errors)
  const { head_type, multilabel } = JSON.parse(readFileSync(join(folder, 'head_config.json'), 'utf8')).config
  t.deepEqual([head_type, multilabel], ['image_classification', false])

  const measured = await command(['evaluate', ...shared, '-a', folder, '-d', rows, '--json'])
  t.is(JSON.parse(measured.output).metrics.accuracy, 1, measured.errors)

  const answered = await command(['predict', ...shared, '-a', folder, '-i', rows])
  const answers = answered.output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { id: number; label: string })
  t.deepEqual(
    answers.map(({ id, label }) => [id, label]),
    [0, 1, 2, 3].map((i) => [i, i % 2 === 0 ? 'rising' : 'falling'])
  )
})

test('a row of the wrong size names the file, the line and the shape', async (t) => {
  const rows = join(place, 'small.jsonl')
  writeFileSync(rows, '{"pixel_values": [0.5, 1], "label": 0}\n{"pixel_values": [0.5, 1], "label": 1}\n')
  const { status, errors } = await command(['train', ...shared, '--train', rows, '-o', join(place, 'small')])
  t.not(status, 0)
  t.regex(errors, /small\.jsonl:1\.pixelValues: expected 48 values, \[2, 4, 6\], got 2/)
})
