import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { cellFamilies } from './support/cells.js'
import { checkGroup } from './support/check-case.js'
import { fixtures } from './support/fixtures.js'

const groups = [
  'adapters-bert',
  'adapters-roberta',
  'adapters-xlm-roberta',
  'activations',
  'heads-bert',
  'heads-roberta',
  'heads-xlm-roberta',
  'inputs-bert',
  'inputs-roberta',
  'inputs-xlm-roberta',
  'model-fields',
  'storages',
  'full',
  'compact-distilbert',
  'compact-electra',
  'compact-gpt2',
  'vit-full'
]

for (const group of groups) test(`as PyTorch: ${group}`, (t) => checkGroup(t, group))

test('every group of fixtures has a test', (t) => {
  const others = [
    ...cellFamilies.map((family) => `cells-${family}`),
    'blocks',
    'choices',
    'class-heads',
    'compositions',
    'lora',
    'lora-gpt2',
    'phm',
    'invertible',
    'nested',
    'prefix',
    'prompt',
    'reft',
    'row-heads',
    'unions',
    'vit',
    'vit-sizes',
    'curves',
    'optimizers',
    'plateau',
    'schedules',
    'folders',
    'generate',
    'names',
    'peft',
    'peft-prompts',
    'task-curves',
    'trunk'
  ]
  const files = readdirSync(fixtures).filter((file) => file.includes('.json'))
  t.deepEqual(files.sort(), [...groups, ...others].map((group) => `${group}.json.gz`).sort())
})

test('the fixtures stay below eight million bytes', (t) => {
  const files = readdirSync(fixtures, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const bytes = files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0)
  t.true(bytes < 8_000_000, `${bytes} bytes`)
})
