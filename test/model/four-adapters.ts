import type { ExecutionContext } from 'ava'
import type { AdapterSetup, Model } from '../../lib/index.js'
import { load, tinyRows } from './support.js'

/** Rounding: a batch is multiplied in other blocks than a row alone. */
export const tolerance = 2e-5

/** Four adapters at different places with heads of 2 to 5 labels, all far from their start, and a fusion of two. */
export async function withFour(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  const configs = ['seq_bn', 'double_seq_bn', 'par_bn[reduction_factor=4]', 'seq_bn[leave_out=[0]]']
  configs.forEach((config, i) => {
    model.addAdapter('abcd'[i] ?? '', config)
    model.addClassificationHead('abcd'[i] ?? '', { numLabels: 2 + i })
  })
  model.addAdapterFusion(['a', 'd'], 'dynamic', { name: 'f' })
  disturb(model)
  return model
}

function disturb(model: Model): void {
  const values = model.namedParameters().flatMap(({ name, shape }) => {
    if (!/\.adapters\.|adapter_fusion_layer|^heads\./.test(name)) return []
    const { data } = model.parameter(name)
    return [[name, { data: data.map((value, i) => value + Math.sin(i * 7 + name.length) / 4), shape }] as const]
  })
  model.loadStateDict(new Map(values))
}

export const rows = tinyRows(5, { seed: 3, from: 6, to: 6 })
rows[4] = { inputIds: [9], label: 0 }
export const inputIds = rows.map((row) => row.inputIds)

/** One row's logits of the head 'a' under a setup. */
export async function alone(model: Model, row: number, setup: AdapterSetup): Promise<Float32Array> {
  const { logits } = await model.forward({ inputIds: [inputIds[row] ?? []] }, { adapters: setup, head: 'a' })
  return logits?.data ?? new Float32Array()
}
