import {
  type AdapterSetup,
  Average,
  BatchSplit,
  type Model,
  MultiTask,
  Parallel,
  Split,
  Stack
} from '../../../lib/index.js'
import { type Family, images, openFamily, real } from './cells.js'
import { readIndex, type Tensor } from './fixtures.js'
import { uniform } from './hashed.js'
import { scalar, type Worst } from './worst.js'

/** What scripts/fixtures/cases_blocks.py keeps: one number of each token, and one of each adapter's gradients and the head's. */
interface Values {
  readonly answers: number[]
  readonly loss: number
  readonly gradients: number[]
}

const blocks = ['BatchSplit', 'MultiTask', 'Parallel', 'Average', 'Split'] as const
type Block = (typeof blocks)[number]

interface BlockCase {
  /** family/method */
  readonly name: string
  /** Of images: none, they are made here. */
  readonly inputIds?: number[][]
  /** Of two rows. */
  readonly labels: number[] | number[][]
  readonly values: { readonly [kind in 'rows' | Block]?: Values }
  /** Null: the peer's block gives these values; else what is wrong with it. */
  readonly blocks: { readonly [block in Block]?: string | null }
}

/** Which blocks go through which rows: all that gives each row one adapter has the same values. */
const setups: { readonly [block in Block]: (a: string, b: string, isImage: boolean) => AdapterSetup } = {
  BatchSplit: (a, b) => BatchSplit(a, b, { batchSizes: [2, 2] }),
  MultiTask: (a, b) => MultiTask(a, b),
  Parallel: (a, b) => Parallel(a, b),
  Average: (a, b) => Average(a, b, { weights: [0.25, 0.75] }),
  Split: (a, b, isImage) => Split(a, b, { splits: isImage ? [2, 3] : [1, 2] })
}

/** Every block of two adapters of one preset in a family. */
export class BlockCells {
  readonly #family: Family
  readonly #cases: readonly BlockCase[]

  constructor(family: string) {
    const { cases } = readIndex<{ cases: readonly (Family | BlockCase)[] }>('blocks')
    this.#family = cases.find(({ name }) => name === family) as Family
    this.#cases = cases.filter(({ name }) => name.startsWith(`${family}/`)) as BlockCase[]
  }

  /** What is wrong with the peer's block, null where its values are taken, undefined where there are none. */
  defect(preset: string, block: string): string | null | undefined {
    return this.#cases.find(({ name }) => name.endsWith(`/${preset}`))?.blocks[block as Block]
  }

  async checkAll(worst: Worst): Promise<void> {
    using model = await openFamily(this.#family)
    for (const one of this.#cases) {
      for (const block of blocks) if (one.blocks[block] !== undefined) await this.#check(model, one, block, worst)
    }
  }

  async #check(model: Model, one: BlockCase, block: Block, worst: Worst): Promise<void> {
    const where = `${one.name}, ${block}`
    const method = one.name.split('/')[1] as string
    const { inputIds } = one
    const adapters = setups[block](method, `${method}-b`, inputIds === undefined)
    const copies = block === 'BatchSplit' || block === 'MultiTask' ? 2 : 1
    const twice = <T>(rows: readonly T[]) => Array.from({ length: copies }, () => rows).flat()
    const rows = inputIds === undefined ? { pixelValues: repeated(copies) } : { inputIds: twice(inputIds) }
    const labels = twice<number | number[]>(one.labels) as typeof one.labels
    const options = { adapters, head: 'h', ...(block === 'MultiTask' && { taskIds: [0, 0, 1, 1] }) }
    model.trainAdapter(Stack(method, `${method}-b`))
    const expected = one.values[block] ?? (one.values.rows as Values)
    const { logits, loss } = await model.forward({ ...rows, labels }, options)
    const answered = block === 'Parallel' ? inputIds && [...inputIds, ...inputIds] : inputIds && twice(inputIds)
    worst.forward(`${where} answers`, list(answers(real(logits as Tensor, answered))), list(expected.answers))
    worst.forward(`${where} loss`, scalar(loss), scalar(expected.loss))
    const { gradients } = await model.gradients({ ...rows, labels }, options)
    const totals = [0, 0, 0]
    for (const [key, { data }] of gradients) {
      const part = key.startsWith('heads.') ? 2 : key.includes(`.${method}.`) ? 0 : 1
      if (key.startsWith('heads.') && !key.startsWith('heads.h.')) continue
      totals[part] = (totals[part] as number) + summed(key, data)
    }
    worst.gradient(`${where} gradients`, list(totals), list(expected.gradients), 0)
  }
}

const list = (values: readonly number[]): Tensor => ({ data: Float32Array.from(values), shape: [values.length] })

function repeated(copies: number): Tensor {
  const { data, shape } = images(2)
  const all = Float32Array.from({ length: data.length * copies }, (_, i) => data[i % data.length] as number)
  return { data: all, shape: [2 * copies, ...shape.slice(1)] }
}

function answers({ data, shape: [count = 0, size = 0] }: Tensor): number[] {
  const factors = uniform('answers', size)
  const one = (i: number) => factors.reduce((sum, factor, j) => sum + factor * (data[i * size + j] as number), 0)
  return Array.from({ length: count }, (_, i) => one(i))
}

/** With signs that follow from the name, the last of them for the parameter itself. */
function summed(key: string, data: ArrayLike<number>): number {
  const signs = uniform(key, data.length + 1).map((value) => (value < 0 ? -1 : 1))
  const sum = Array.from(data).reduce((total, value, i) => total + value * (signs[i] as number), 0)
  return ((signs[data.length] as number) * sum) / data.length ** 0.5
}
