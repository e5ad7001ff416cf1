import { readdirSync, readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { ExecutionContext } from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { type ExportedCase, ExportedGroup, type ExportedInputs } from '../parity/support/exported.js'
import type { Tensor } from '../parity/support/fixtures.js'

const archives = 'test/parity/fixtures/exported'

/** The names of the archives by what their first case gives a pass. */
function namesBy(isWanted: (inputs: ExportedInputs) => boolean): readonly string[] {
  return readdirSync(archives)
    .filter((file) => file.endsWith('.json.gz'))
    .filter((file) => {
      const { cases } = JSON.parse(gunzipSync(readFileSync(`${archives}/${file}`)).toString('utf8'))
      const { inputs } = (cases as ExportedCase[]).find(({ kind }) => kind === 'forward') ?? {}
      return inputs !== undefined && isWanted(inputs)
    })
    .map((file) => file.replace('.json.gz', ''))
}

/** Those whose rows are ids, and that a pass needs no more of. */
export const textModels = namesBy((inputs) => Array.isArray(inputs['input_ids']) && !('decoder_input_ids' in inputs))

/** Those whose rows are numbers of one size. */
export const imageModels = namesBy(
  (inputs) => ['pixel_values', 'input_features'].some((name) => name in inputs) && !('attention_mask' in inputs)
)

export interface Opened {
  readonly group: ExportedGroup
  readonly model: Model
}

export async function open(t: ExecutionContext, name: string): Promise<Opened> {
  const group = await ExportedGroup.read(name)
  const model = await AutoModel.fromExported(group.archive)
  t.teardown(() => model.dispose())
  return { group, model }
}

export function casesOf({ cases }: ExportedGroup, kind: ExportedCase['kind']): readonly ExportedCase[] {
  return cases.filter((one) => one.kind === kind)
}

/** A case's inputs as forward takes them. */
export function inputsOf(given: ExportedInputs | undefined) {
  const { input_ids: inputIds, attention_mask: attentionMask, token_type_ids: tokenTypeIds } = given ?? {}
  return {
    inputIds: inputIds as number[][],
    attentionMask: attentionMask as number[][],
    ...(tokenTypeIds !== undefined && { tokenTypeIds: tokenTypeIds as number[][] })
  }
}

/** The largest difference, relative to the largest expected value, or to 1. */
export function distance(got: ArrayLike<number>, { data }: Pick<Tensor, 'data'>): number {
  if (got.length !== data.length) return Number.POSITIVE_INFINITY
  const scale = Math.max(1, ...Array.from(data, Math.abs))
  return Math.max(...Array.from(data, (value, i) => Math.abs(value - (got[i] ?? Number.NaN)))) / scale
}

/** A native model of this class with the exported one's weights: its names have a prefix before those of the exported one. */
export async function nativeTwin(t: ExecutionContext, config: object, exported: Model): Promise<Model> {
  const native = await AutoModel.fromConfig(config)
  t.teardown(() => native.dispose())
  const names = native.namedParameters().map(({ name }) => name)
  const below = (name: string) => name.slice(name.indexOf('.') + 1)
  native.native.setParameters(new Map(names.map((name) => [name, exported.parameter(below(name))])))
  return native
}
