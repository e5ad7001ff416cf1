import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { ExecutionContext } from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { scratch } from '../model/support.js'

/** Of scripts/fixtures/exported_heads.py: archives of classes with a head. */
export interface HeadCase {
  readonly ids: number[][]
  readonly labels: number[] | number[][]
  readonly targetModules: string[]
  readonly r: number
  readonly loss: number
  readonly logits: number[]
  readonly factors: Readonly<Record<string, number[]>>
  readonly gradients: Readonly<Record<string, number[]>>
}

const fixtures = 'test/parity/fixtures/exported-heads'
const unpacked = (file: string) => gunzipSync(readFileSync(join(fixtures, `${file}.gz`)))
export const cases: Readonly<Record<string, HeadCase>> = JSON.parse(unpacked('cases.json').toString('utf8'))

export async function openHead(
  t: ExecutionContext,
  name: string,
  options: { pooling?: 'mean'; weights?: string } = {}
): Promise<Model> {
  const archive = join(scratch(t), `${name}.pt2`)
  writeFileSync(archive, unpacked(`${name}.pt2`))
  const model = await AutoModel.fromExported(archive, options)
  t.teardown(() => model.dispose())
  return model
}
