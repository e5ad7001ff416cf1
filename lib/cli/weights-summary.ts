import { statSync } from 'node:fs'
import { loadAddon } from '../native/addon.js'
import { nativeCall } from '../native/errors.js'
import type { TensorInfo } from '../native/types.js'

/** What a file of weights holds; only its index is read. */
export interface WeightsSummary {
  readonly file: string
  readonly bytes: number
  readonly parameters: number
  readonly dtypes: readonly string[]
  /** How the inside of its adapters is named; null where it holds none. */
  readonly dialect: 'adapterhub' | 'plain' | null
  readonly tensors: readonly TensorInfo[]
}

export async function summarizeWeights(file: string): Promise<WeightsSummary> {
  const addon = loadAddon()
  const tensors = await nativeCall(() => addon.readWeights(file))
  return {
    file,
    bytes: statSync(file).size,
    parameters: tensors.reduce((total, { shape }) => total + shape.reduce((product, size) => product * size, 1), 0),
    dtypes: [...new Set(tensors.map(({ dtype }) => dtype))],
    dialect: dialectOf(tensors),
    tensors
  }
}

function dialectOf(tensors: readonly TensorInfo[]): WeightsSummary['dialect'] {
  if (tensors.some(({ name }) => /(^|\.)adapter_(down|up)\./.test(name))) return 'adapterhub'
  return tensors.some(({ name }) => /(^|\.)(down|up)_project\./.test(name)) ? 'plain' : null
}

export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`
  const units = ['kB', 'MB', 'GB']
  const power = Math.min(units.length, Math.floor(Math.log10(bytes) / 3))
  return `${(bytes / 1000 ** power).toPrecision(3)} ${units[power - 1]}`
}

/** Two columns, and a tensor a line: name, shape, type. */
export function describeWeights(summary: WeightsSummary, withTensors: boolean): string[] {
  const { file, bytes, parameters, dtypes, dialect, tensors } = summary
  const lines = [
    `  weights       ${file}, ${formatBytes(bytes)}`,
    `  parameters    ${parameters.toLocaleString('en')} in ${tensors.length} tensors, ${dtypes.join(', ')}`,
    ...(dialect === null ? [] : [`  dialect       ${dialect}`])
  ]
  if (!withTensors) return lines
  const width = Math.max(0, ...tensors.map(({ name }) => name.length))
  return [
    ...lines,
    ...tensors.map(({ name, shape, dtype }) => `    ${name.padEnd(width)}  [${shape.join(', ')}]  ${dtype}`)
  ]
}
