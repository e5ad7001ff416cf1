import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { adapterPresets, unionPresets } from '../../lib/config/presets.js'
import { type AdapterSetup, AutoModel, type Model } from '../../lib/index.js'
import { isBaseParameter } from '../../lib/model/summary.js'
import { repository } from '../native/support.js'
import { fixtures } from '../parity/support/fixtures.js'
import { hashedValue } from '../parity/support/hashed.js'

/** What the pages call a family, and the fixtures' tiny model of it. */
export const families = {
  BERT: 'bert',
  RoBERTa: 'roberta',
  'XLM-R': 'xlm-roberta',
  ELECTRA: 'electra',
  DistilBERT: 'distilbert',
  'GPT-2': 'gpt2',
  ViT: 'vit'
} as const
export type FamilyName = (typeof families)[keyof typeof families]

/** The tiny models are narrower than what the presets are made for. */
const fields: Readonly<Record<string, string>> = {
  compacter: '[reduction_factor=2, phm_dim=2]',
  'compacter++': '[reduction_factor=2, phm_dim=2]'
}

/** Old names and names of places are others for what is there already. */
const known = Object.entries(adapterPresets)
export const presets: readonly string[] = [
  ...known.filter(([, config], i) => known.findIndex(([, other]) => other === config) === i).map(([name]) => name),
  ...Object.keys(unionPresets)
]

export const configOf = (preset: string): string => `${preset}${fields[preset] ?? ''}`

export const isUnsupported = (error: unknown): boolean => (error as { code?: string }).code === 'ERR_UNSUPPORTED'

/** The largest difference; NaN where there are not as many. */
export const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  a.length === b.length ? Math.max(0, ...Array.from(a, (value, i) => Math.abs(value - (b[i] ?? 0)))) : Number.NaN

/** A tiny model with a head, and rows that it reads: of these lengths, or images of five tokens each. */
export class TinyFamily implements Disposable {
  readonly model: Model
  readonly #lengths: readonly number[]

  private constructor(model: Model, lengths: readonly number[]) {
    this.model = model
    this.#lengths = lengths
    if (this.#readsImages) model.addImageClassificationHead('h')
    else model.addClassificationHead('h', { numLabels: 2 })
  }

  static async open(family: FamilyName, lengths: readonly number[]): Promise<TinyFamily> {
    return new TinyFamily(await AutoModel.fromPretrained(join(fixtures, 'models', `${family}-tiny`)), lengths)
  }

  [Symbol.dispose](): void {
    this.model.dispose()
  }

  get #readsImages(): boolean {
    return this.model.config.imageSize !== null
  }

  get rows() {
    // [2, 4, 6], as vit-tiny has it.
    const image = (row: number) => Float32Array.from({ length: 48 }, (_, i) => Math.sin((row + 5) * (i + 1)))
    return this.#readsImages
      ? { pixelValues: this.#lengths.map((_, row) => image(row)) }
      : { inputIds: this.#lengths.map((length, row) => Array.from({ length }, (_, i) => 5 + ((3 * row + 7 * i) % 30))) }
  }

  /** Values far from where an adapter and the head start. */
  fill(name: string): void {
    const isOwn = (key: string) => key.includes(`.${name}.`) || key.startsWith('heads.h.')
    const own = this.model.namedParameters().filter((one) => !isBaseParameter(one) && isOwn(one.name))
    this.model.loadStateDict(new Map(own.map(({ name, shape }) => [name, hashedValue(name, shape)])))
    this.model.trainAdapter(name)
  }

  /** Two a row. */
  async logits(adapters: AdapterSetup | readonly AdapterSetup[], taskIds?: readonly string[]): Promise<number[]> {
    const options = { head: 'h', ...(taskIds === undefined ? {} : { taskIds }) }
    const { logits } = await this.model.forward(this.rows, { adapters: adapters as AdapterSetup, ...options })
    return [...(logits?.data ?? [])]
  }

  /** The parameters of an adapter that learn, when this setup does. */
  async learning(adapters: AdapterSetup, name: string): Promise<string[]> {
    const labels = this.#lengths.map((_, row) => row % 2)
    const { gradients } = await this.model.gradients({ ...this.rows, labels }, { adapters, head: 'h' })
    const own = [...gradients].filter(([key]) => key.includes(`.${name}.`))
    return own.filter(([, { data }]) => data.some((value) => value !== 0)).map(([key]) => key)
  }
}

/** A page's table that begins with these words must be this one. UPDATE_DOCS=1 puts it there. */
export function checkTable(t: ExecutionContext, path: string, header: string, lines: readonly string[]): void {
  const columns = header.split('|').length - 2
  const table = [header, `|${'---|'.repeat(columns)}`, ...lines].join('\n')
  const file = join(repository, path)
  const page = readFileSync(file, 'utf8')
  const start = page.indexOf(`${header}\n`)
  const end = /\n(?!\|)/g
  end.lastIndex = start
  const there = start < 0 ? undefined : page.slice(start, end.exec(page)?.index)
  const isUpdate = process.env['UPDATE_DOCS'] !== undefined && there !== undefined
  if (isUpdate)
    writeFileSync(
      file,
      page.replace(there, () => table)
    )
  t.is(isUpdate ? table : there, table)
}
