import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { scratch } from '../model/support.js'
import { distance } from './support.js'

/** Of scripts/fixtures/exported_own.py: each row by itself, in PyTorch. */
interface Case {
  readonly rows: number[][]
  readonly modules: string[]
  readonly answers: number[][]
}

const fixtures = 'test/parity/fixtures/exported-own'
const unpacked = (file: string) => gunzipSync(readFileSync(join(fixtures, `${file}.gz`)))
const cases: Readonly<Record<string, Case>> = JSON.parse(unpacked('cases.json').toString('utf8'))

function archiveOf(t: ExecutionContext, name: string): string {
  const archive = join(scratch(t), `${name}.pt2`)
  writeFileSync(archive, unpacked(`${name}.pt2`))
  return archive
}

async function open(t: ExecutionContext, name: string): Promise<{ model: Model } & Case> {
  const model = await AutoModel.fromExported(archiveOf(t, name))
  t.teardown(() => model.dispose())
  return { model, ...(cases[name] as Case) }
}

/** The states of each row, without its padding. */
async function statesOf(model: Model, rows: number[][]): Promise<number[][]> {
  const { lastHiddenState } = await model.forward({ inputIds: rows }, { head: null })
  const { shape = [], data = [] } = lastHiddenState ?? {}
  const [count = 0, columns = 1] = shape.length === 3 ? shape : [shape[0], 1]
  const features = data.length / count / columns
  return rows.map(({ length }, i) =>
    Array.from(data.slice(i * columns * features, (i * columns + Math.min(length, columns)) * features))
  )
}

async function answersAsAlone(t: ExecutionContext, name: string) {
  const { model, rows, answers } = await open(t, name)
  const states = await statesOf(model, rows)
  for (const [i, expected] of answers.entries()) t.true(distance(states[i] ?? [], { data: expected as never }) < 1e-6)
  return model
}

for (const name of ['from-end', 'by-length'])
  test(`${name}: tokens that see how long the batch is take rows of one length where there is no mask`, async (t) => {
    const { model, rows, answers } = await open(t, name)
    for (const [i, row] of rows.entries()) {
      const [states] = await statesOf(model, [row])
      t.true(distance(states ?? [], { data: answers[i] as never }) < 1e-6)
    }
    await t.throwsAsync(statesOf(model, rows), {
      code: 'ERR_UNSUPPORTED',
      message: /exported without attention_mask \(expected rows of one length\)/
    })
  })

test('tokens that see those before them alone take rows of any length without a mask', async (t) => {
  await answersAsAlone(t, 'behind')
})

test('ids that the network maps before it looks them up have no limit that is known', async (t) => {
  const model = await answersAsAlone(t, 'mapped')
  t.is(model.config.vocabSize, 0)
  await t.throwsAsync(model.forward({ inputIds: [[200]] }, { head: null }), { message: /aten\.embedding/ })
})
