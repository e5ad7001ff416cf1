import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { adapterPresets, unionPresets } from '../../lib/config/presets.js'
import { AutoModel, type Model, Stack } from '../../lib/index.js'
import type { ParameterInfo } from '../../lib/native/types.js'
import { fill } from '../model/support.js'
import { fixtures } from '../parity/support/fixtures.js'

/**
 * README's table of what works where is what this test saw. A cell is `yes` where the method, on a tiny model of the family,
 * changes the answers, has gradients, runs in a Stack, and answers in a mixed batch as alone; `no` where the library refuses
 * it by name. Everything else fails. After a change: UPDATE_README=1 npx ava dist/test/docs/support-matrix.test.js
 */
const families = {
  BERT: 'bert-tiny',
  RoBERTa: 'roberta-tiny',
  'XLM-R': 'xlm-roberta-tiny',
  ELECTRA: 'electra-tiny',
  DistilBERT: 'distilbert-tiny',
  'GPT-2': 'gpt2-tiny',
  ViT: 'vit-tiny'
}

/** The tiny models are narrower than what the presets are made for. */
const fields: Readonly<Record<string, string>> = {
  compacter: '[reduction_factor=2, phm_dim=2]',
  'compacter++': '[reduction_factor=2, phm_dim=2]'
}

/** Old names and names of places are others for what is there already. */
const known = Object.entries(adapterPresets)
const presets = [
  ...known.filter(([, config], i) => known.findIndex(([, other]) => other === config) === i).map(([name]) => name),
  ...Object.keys(unionPresets)
]

const rows = [[5, 9, 12, 7], [6], [8, 11, 5]]
// [2, 4, 6], as vit-tiny has it.
const images = rows.map((ids) => Float32Array.from({ length: 48 }, (_, i) => Math.sin((ids[0] ?? 0) * (i + 1))))

const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (value, i) => Math.abs(value - (b[i] ?? Number.NaN))))

async function cell(folder: string, preset: string): Promise<'yes' | 'no'> {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models', folder))
  const readsImages = model.config.imageSize !== null
  if (readsImages) model.addImageClassificationHead('h')
  else model.addClassificationHead('h', { numLabels: 2 })
  const input = readsImages ? { pixelValues: images } : { inputIds: rows }
  model.addAdapter('b', 'seq_bn[reduction_factor=8]')
  try {
    model.addAdapter('a', `${preset}${fields[preset] ?? ''}`)
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_UNSUPPORTED') return 'no'
    throw error
  }
  for (const name of ['b', 'a']) {
    model.trainAdapter(name)
    // PyTorch's orthogonal weights hold signs besides, which are not any numbers.
    const which = (one: ParameterInfo) => one.trainable && !one.name.includes('.parametrizations.')
    fill(model, name, { scale: 0.2, which })
  }
  const logits = async (adapters: Parameters<Model['setActiveAdapters']>[0]) =>
    (await model.forward(input, { adapters, head: 'h' })).logits?.data ?? new Float32Array()
  const base = await logits(null)
  const alone = await logits('a')
  if (!(distance(alone, base) > 1e-6)) throw new Error(`${preset} changes nothing`)
  const { gradients } = await model.gradients({ ...input, labels: [0, 1, 1] }, { adapters: 'a', head: 'h' })
  const own = [...gradients].filter(([name]) => name.includes('.a.'))
  const moving = own.filter(([, { data }]) => data.some((value) => value !== 0))
  if (moving.length === 0) throw new Error(`${preset} has no gradient`)
  const stacked = await logits(Stack('b', 'a'))
  if (!(distance(stacked, alone) > 1e-6 && distance(stacked, await logits('b')) > 1e-6)) {
    throw new Error(`${preset} in a Stack is one of the two alone`)
  }
  const mixed = (await model.forward(input, { adapters: ['a', null, Stack('b', 'a')], head: 'h' })).logits
  const expected = [...alone.slice(0, 2), ...base.slice(2, 4), ...stacked.slice(4, 6)]
  if (!(distance(mixed?.data ?? [], expected) < 1e-5))
    throw new Error(`${preset} in a mixed batch is another than alone`)
  return 'yes'
}

async function matrix(): Promise<string> {
  const lines = [
    `| preset | ${Object.keys(families).join(' | ')} |`,
    `|---|${'---|'.repeat(Object.keys(families).length)}`
  ]
  for (const preset of presets) {
    const cells: string[] = []
    for (const folder of Object.values(families)) cells.push(await cell(folder, preset))
    lines.push(`| \`${preset}\` | ${cells.join(' | ')} |`)
  }
  return lines.join('\n')
}

test('README says what works where', async (t) => {
  const table = await matrix()
  const page = readFileSync('README.md', 'utf8')
  const [there] = /^\| preset \| BERT \|[\s\S]*?(?=\n\n)/m.exec(page) ?? []
  const isUpdate = process.env['UPDATE_README'] !== undefined && there !== undefined
  if (isUpdate)
    writeFileSync(
      'README.md',
      page.replace(there, () => table)
    )
  t.is(isUpdate ? table : there, table)
})
