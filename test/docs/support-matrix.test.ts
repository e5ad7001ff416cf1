import test from 'ava'
import { Stack } from '../../lib/index.js'
import { Cells } from '../parity/support/cells.js'
import {
  checkTable,
  configOf,
  distance,
  type FamilyName,
  families,
  isUnsupported,
  presets,
  TinyFamily
} from './tiny-families.js'

/**
 * docs/methods.md's table of what works where is what this test saw. A cell is `yes` where the method, on a tiny model of the family,
 * changes the answers, has gradients, runs in a Stack, and answers in a mixed batch as alone; `no` where the library refuses
 * it by name. Everything else fails. After a change: UPDATE_DOCS=1 npx ava dist/test/docs/support-matrix.test.js
 */
async function cell(family: FamilyName, preset: string): Promise<'yes' | 'no'> {
  using tiny = await TinyFamily.open(family, [4, 1, 3])
  const { model } = tiny
  model.addAdapter('b', 'seq_bn[reduction_factor=8]')
  try {
    model.addAdapter('a', configOf(preset))
  } catch (error) {
    if (isUnsupported(error)) return 'no'
    throw error
  }
  for (const name of ['b', 'a']) tiny.fill(name)
  const base = await tiny.logits(null)
  const alone = await tiny.logits('a')
  if (!(distance(alone, base) > 1e-6)) throw new Error(`${preset} changes nothing`)
  if ((await tiny.learning('a', 'a')).length === 0) throw new Error(`${preset} has no gradient`)
  const stacked = await tiny.logits(Stack('b', 'a'))
  if (!(distance(stacked, alone) > 1e-6 && distance(stacked, await tiny.logits('b')) > 1e-6)) {
    throw new Error(`${preset} in a Stack is one of the two alone`)
  }
  const mixed = await tiny.logits(['a', null, Stack('b', 'a')])
  const expected = [...alone.slice(0, 2), ...base.slice(2, 4), ...stacked.slice(4, 6)]
  if (!(distance(mixed, expected) < 1e-5)) throw new Error(`${preset} in a mixed batch is another than alone`)
  return 'yes'
}

/** Whose values test/parity/cells.test.ts holds it to, alone, in a Stack and row by row. */
function mark(cells: Cells, preset: string): string {
  const sources = cells.cells.flatMap(({ name, source }) =>
    name.split('/')[1]?.startsWith(`${preset},`) ? source : []
  )
  if (sources.length !== 3) return ''
  const theirs = sources.filter((source) => source === 'adapters').length
  return theirs === 3 ? ' ●' : theirs > 0 ? ' ◐' : ' ○'
}

test('docs/methods.md says what works where', async (t) => {
  const lines = new Map(presets.map((preset) => [preset, [] as string[]]))
  for (const family of Object.values(families)) {
    const cells = new Cells(family)
    for (const preset of presets) {
      const seen = await cell(family, preset)
      lines.get(preset)?.push(`${seen}${seen === 'yes' ? mark(cells, preset) : ''}`)
    }
  }
  checkTable(
    t,
    'docs/methods.md',
    `| preset | ${Object.keys(families).join(' | ')} |`,
    [...lines].map(([preset, cells]) => `| \`${preset}\` | ${cells.join(' | ')} |`)
  )
})
