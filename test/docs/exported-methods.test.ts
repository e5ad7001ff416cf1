import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  addAdaptersToModel,
  freezeBaseModel,
  type Model,
  type Row
} from '../../lib/index.js'
import { rowsOf } from '../exported/case-rows.js'
import { casesOf } from '../exported/support.js'
import { moved, quiet, snapshot, trainableNames } from '../model/support.js'
import { ExportedGroup } from '../parity/support/exported.js'
import { fixtures } from '../parity/support/fixtures.js'
import { hashedValue } from '../parity/support/hashed.js'
import { checkTable, configOf, distance, isUnsupported } from './tiny-families.js'

const page = 'docs/exported-networks.md'
const presets = [
  'seq_bn',
  'double_seq_bn',
  'par_bn',
  'seq_bn_inv',
  'compacter',
  'loreft',
  'lora',
  'dora',
  'vera',
  'ia3'
]
const atTokens = ['prefix_tuning', 'prefix_tuning_flat', 'unipelt', 'prompt_tuning']
const methods = [...presets, 'targetModules', ...atTokens, 'addAdaptersToModel']

/** Of the networks whose fixtures have no sites: a Linear, and what one is put after. */
const sites = new Map([
  ['frames', { lora: 'layers.0.attention.qkv', after: 'layers.0.norm1' }],
  ['wav2vec2-masked', { lora: 'encoder.layers.0.attention.q_proj', after: 'encoder.layers.0.layer_norm' }]
])

/** A tiny network with a head of three labels, its fixture's rows, and its answers without an adapter. */
class Network implements Disposable {
  readonly #base: readonly number[]
  readonly #names: ReadonlySet<string>

  private constructor(
    readonly model: Model,
    readonly name: string,
    readonly group: ExportedGroup,
    readonly rows: readonly Row[],
    base: readonly number[]
  ) {
    this.#base = base
    this.#names = new Set(model.namedParameters().map(({ name }) => name))
  }

  static async open(name: string): Promise<Network> {
    const group = await ExportedGroup.read(name)
    const model = await AutoModel.fromExported(group.archive)
    const labels = { numLabels: 3, layers: 1, seed: 1 }
    if (model.config.imageSize === null) model.addClassificationHead('a', labels)
    else model.addImageClassificationHead('a', { ...labels, usePooler: false })
    const rows = rowsOf(group)
    return new Network(model, name, group, rows, await logits(model, rows))
  }

  [Symbol.dispose](): void {
    this.model.dispose()
  }

  #site(kind: 'lora' | 'after'): string {
    return casesOf(this.group, kind)[0]?.path ?? sites.get(this.name)?.[kind] ?? ''
  }

  /** Puts it in and lets it train; gives what takes it out. */
  #add(method: string): () => void {
    const { model } = this
    if (method === 'addAdaptersToModel') {
      const prefix = model.config.exported?.prefix
      const pattern = [...(prefix ? [prefix] : []), this.#site('after')].join('.')
      const { undo } = addAdaptersToModel(model, { pattern, adapterSize: 4 })
      freezeBaseModel(model)
      return undo
    }
    const targets = { architecture: 'lora', r: 2, targetModules: [this.#site('lora')] } as const
    model.addAdapter('a', method === 'targetModules' ? targets : configOf(method), { seed: 2 })
    model.trainAdapter('a')
    return () => model.deleteAdapter('a')
  }

  /** Whether it changes the answers, and a step of training moves it and its head to finite values, and nothing else. */
  async check(method: string): Promise<void> {
    const remove = this.#add(method)
    const { model, rows, name } = this
    try {
      const must = (is: boolean, what: string) => {
        if (!is) throw new Error(`${method} in ${name}: ${what}`)
      }
      const own = trainableNames(model).filter((one) => !one.startsWith('heads.a.'))
      must(own.length > 0, 'nothing trains')
      must(!own.some((one) => this.#names.has(one)), `the network itself trains: ${own}`)
      const shapes = new Map(model.namedParameters().map(({ name, shape }) => [name, shape]))
      // Values far from where it starts, which may be the identity.
      model.loadStateDict(new Map(own.map((one) => [one, hashedValue(one, shapes.get(one) ?? [])])))
      must(distance(await logits(model, rows), this.#base) > 1e-6, 'it changes no answer')
      const before = snapshot(model)
      const args = { ...quiet, maxSteps: 1, weightDecay: 0 }
      await new AdapterTrainer({ model, trainDataset: rows, args }).train()
      const after = snapshot(model)
      const changed = moved(before, after)
      const moves = own.some((one) => changed.includes(one))
      must(moves, 'it does not move')
      for (const one of changed) {
        must(own.includes(one) || one.startsWith('heads.a.'), `${one} moves`)
        must(after.get(one)?.every(Number.isFinite) === true, `${one} is no number`)
      }
      const head = new Map([...before].filter(([one]) => one.startsWith('heads.a.')))
      model.loadStateDict(new Map([...head].map(([one, data]) => [one, { data, shape: shapes.get(one) ?? [] }])))
    } finally {
      remove()
    }
  }
}

async function logits(model: Model, rows: readonly Row[]): Promise<number[]> {
  const found = await model.predict(rows as never, { head: 'a' })
  return found.flatMap(({ logits }) => Array.from(logits))
}

/** What a refusal says of the network, without its names and what was expected and got. */
function reasonOf(error: unknown): string {
  const said = String((error as Error).message)
  if (!isUnsupported(error) && !said.includes('no layer was found')) throw error
  return said.replace(/^[^:]*: (\w+ of an archive )?/, '').replace(/ \(expected .*/s, '')
}

const letter = (index: number) => String.fromCharCode(97 + index)

/**
 * docs/exported-networks.md's table of what stands where is what this test saw: `yes` where it changes the answers and trains, alone; `no` with the
 * reason of the refusal. Everything else fails.
 */
// After a change: UPDATE_DOCS=1 npx ava dist/test/docs/exported-methods.test.js
test('docs/exported-networks.md says which methods stand in which exported networks', async (t) => {
  const told = JSON.parse(readFileSync(join(fixtures, 'exported', 'models.json'), 'utf8')) as {
    readonly [name: string]: { readonly class: string }
  }
  const reasons: string[] = []
  const lines: string[] = []
  for (const [name, { class: className }] of Object.entries(told)) {
    using network = await Network.open(name)
    const cells: string[] = []
    for (const method of methods) {
      try {
        await network.check(method)
        cells.push('yes')
      } catch (error) {
        const reason = reasonOf(error)
        if (!reasons.includes(reason)) reasons.push(reason)
        cells.push(`no ${letter(reasons.indexOf(reason))}`)
      }
    }
    lines.push(`| \`${className}\`${name.endsWith('-masked') ? ', rows of any length' : ''} | ${cells.join(' | ')} |`)
  }
  checkTable(t, page, `| network | ${methods.map((method) => `\`${method}\``).join(' | ')} |`, lines)
  const why = reasons.map((reason, i) => `| ${letter(i)} | ${reason} |`)
  checkTable(t, page, '| no | why |', why)
})
