import test from 'ava'
import { type AdapterSetup, Average, BatchSplit, Fuse, MultiTask, Parallel, Split, Stack } from '../../lib/index.js'
import { BlockCells } from '../parity/support/blocks.js'
import { Cells } from '../parity/support/cells.js'
import { checkTable, configOf, distance, families, isUnsupported, presets, TinyFamily } from './tiny-families.js'

/**
 * docs/composition.md's table of which block takes which method is what this test saw. A cell is `yes` where a block of two adapters of the
 * preset gives what follows from each alone, and both learn, in every family that has the preset; `no` where the library
 * refuses it by name in all of them. Everything else fails. Marks: whose values test/parity/blocks.test.ts, for a Stack cells.test.ts, holds it to. After a
 * change:
 * UPDATE_DOCS=1 npx ava dist/test/docs/composition-matrix.test.js
 */
const lengths = [5, 5, 5, 5]

/** What each alone gives, two numbers a row. */
interface Alone {
  readonly base: readonly number[]
  readonly a: readonly number[]
  readonly b: readonly number[]
}

interface Law {
  readonly setup: AdapterSetup
  /** Whose gradients it must have. */
  readonly learn?: AdapterSetup
  readonly check: (tiny: TinyFamily, alone: Alone) => Promise<boolean>
}

const same = (a: readonly number[], b: readonly number[]) => distance(a, b) < 1e-5
const differs = (a: readonly number[], ...others: readonly (readonly number[])[]) =>
  others.every((other) => distance(a, other) > 1e-6)
const halves = ({ a, b }: Alone) => [...a.slice(0, 4), ...b.slice(4)]

/** In a batch of other rows, too, a row has what all of them had. */
async function inRows(tiny: TinyFamily, setup: AdapterSetup, { a, base }: Alone): Promise<boolean> {
  const whole = await tiny.logits(setup)
  const rows = await tiny.logits([setup, null, 'a', setup])
  return (
    differs(whole, a, base) &&
    same(rows, [...whole.slice(0, 2), ...base.slice(2, 4), ...a.slice(4, 6), ...whole.slice(6)])
  )
}

const laws: Readonly<Record<string, Law>> = {
  Stack: {
    setup: Stack('a', 'b'),
    check: async (tiny, alone) => {
      const one = await tiny.logits(Stack('a'))
      return (
        same(one, alone.a) &&
        differs(await tiny.logits(Stack('a', 'b')), alone.b) &&
        inRows(tiny, Stack('a', 'b'), alone)
      )
    }
  },
  Fuse: {
    setup: Fuse('a', 'b'),
    check: (tiny, alone) => inRows(tiny, Fuse('a', 'b'), alone)
  },
  Split: {
    setup: Split('a', 'b', { splits: [2, 3] }),
    check: async (tiny, alone) =>
      same(await tiny.logits(Split('a', 'b', { splits: [5, 0] })), alone.a) &&
      inRows(tiny, Split('a', 'b', { splits: [2, 3] }), alone)
  },
  BatchSplit: {
    setup: BatchSplit('a', 'b', { batchSizes: [2, 2] }),
    check: async (tiny, alone) => same(await tiny.logits(BatchSplit('a', 'b', { batchSizes: [2, 2] })), halves(alone))
  },
  Parallel: {
    setup: Parallel('a', 'b'),
    learn: Stack('a', 'b'),
    check: async (tiny, alone) => same(await tiny.logits(Parallel('a', 'b')), [...alone.a, ...alone.b])
  },
  Average: {
    setup: Average('a', 'b'),
    check: async (tiny, alone) =>
      same(await tiny.logits(Average('a', 'b', { weights: [1, 0] })), alone.a) &&
      inRows(tiny, Average('a', 'b', { weights: [1, 3] }), alone)
  },
  MultiTask: {
    setup: MultiTask('a', 'b'),
    learn: BatchSplit('a', 'b', { batchSizes: [2, 2] }),
    check: async (tiny, alone) => same(await tiny.logits(MultiTask('a', 'b'), ['a', 'a', 'b', 'b']), halves(alone))
  }
}

async function cell(
  tiny: TinyFamily,
  block: string,
  { setup, learn = setup, check }: Law,
  alone: Alone
): Promise<'yes' | 'no'> {
  try {
    if (block === 'Fuse') tiny.model.addAdapterFusion(['a', 'b'])
    tiny.model.trainAdapter(Stack('a', 'b'))
    if (!(await check(tiny, alone))) throw new Error('is not what follows from each alone')
    for (const name of ['a', 'b']) {
      if ((await tiny.learning(learn, name)).length === 0) throw new Error(`'${name}' does not learn`)
    }
    return 'yes'
  } catch (error) {
    if (isUnsupported(error)) return 'no'
    throw error
  }
}

/** Of one preset in one family, block by block; null: the family has not the preset. */
async function seen(family: (typeof families)[keyof typeof families], preset: string): Promise<string[] | null> {
  using tiny = await TinyFamily.open(family, lengths)
  for (const name of ['a', 'b']) {
    try {
      tiny.model.addAdapter(name, configOf(preset))
    } catch (error) {
      if (isUnsupported(error)) return null
      throw error
    }
    tiny.fill(name)
  }
  const [base, a, b] = [await tiny.logits(null), await tiny.logits('a'), await tiny.logits('b')]
  const cells: string[] = []
  for (const [block, law] of Object.entries(laws)) {
    try {
      cells.push(await cell(tiny, block, law, { base, a, b }))
    } catch (error) {
      throw new Error(`${block} of ${preset} in ${family}: ${error}`)
    }
  }
  return cells
}

const blockCells = Object.values(families).map((family) => new BlockCells(family))
const stackCells = Object.values(families).map((family) => new Cells(family))

/**
 * Why a family's values of a block are not the peer's; null: they are; undefined: there are none. Stacks of the cells are
 * over another preset, and tell of a Stack of two only that it is never the peer's.
 */
function defectsOf(preset: string, block: string): (string | null | undefined)[] {
  if (block !== 'Stack') return blockCells.map((cells) => cells.defect(preset, block))
  const found = stackCells.map(({ cells }) => cells.find(({ name }) => name.split('/')[1] === `${preset}, Stack`))
  const isPeers = found.some((cell) => cell?.source === 'adapters' || cell?.defect === undefined)
  return isPeers ? [] : found.map((cell) => cell?.defect)
}

/** ●: the peer's own block in every family that has the preset, ◐: in some, ○: in none. */
function mark(preset: string, block: string): string {
  const defects = defectsOf(preset, block).filter((defect) => defect !== undefined)
  if (defects.length === 0) return ''
  const theirs = defects.filter((defect) => defect === null).length
  return theirs === defects.length ? ' ●' : theirs > 0 ? ' ◐' : ' ○'
}

test('docs/composition.md says which block takes which method', async (t) => {
  const alike = new Map<string, string[]>()
  for (const preset of presets) {
    const all = await Promise.all(Object.values(families).map((family) => seen(family, preset)))
    const [first, ...others] = all.filter((one) => one !== null)
    for (const one of others) t.deepEqual(one, first, `${preset} is the same in every family`)
    const marked = first?.map((cell, i) => `${cell}${cell === 'yes' ? mark(preset, Object.keys(laws)[i] ?? '') : ''}`)
    const cells = `${marked?.join(' | ')}`
    alike.set(cells, [...(alike.get(cells) ?? []), `\`${preset}\``])
  }
  const blocks = Object.keys(laws).map((block) => `\`${block}\``)
  const lines = [...alike].map(([cells, which]) => `| ${which.join(', ')} | ${cells} |`)
  checkTable(t, 'docs/composition.md', `| presets | ${blocks.join(' | ')} |`, lines)
})
