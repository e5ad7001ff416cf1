import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Tensors } from './fixtures.js'

/** Ids and masks as they are; a string names a tensor. */
export type ExportedInputs = { readonly [name: string]: number[][] | string }

/** What scripts/fixtures/exported.py writes; what the kinds mean stands in exported_sites.py. */
export interface ExportedCase {
  readonly name: string
  readonly kind: 'forward' | 'after' | 'before' | 'parallel' | 'lora' | 'ia3' | 'dora' | 'prefix' | 'training' | 'names'
  /** The module of a site. */
  readonly path?: string
  readonly inputs?: ExportedInputs
  /** Of all modules, and of all parameters. */
  readonly modules?: readonly string[]
  readonly parameters?: readonly string[]
  /** Which of the model's outputs the values are of. */
  readonly output: string
  /** What the output is multiplied with before it is summed and differentiated: zero on padding. */
  readonly lossWeights?: string
  readonly weights?: { readonly [name: string]: string }
  /** Of a prefix, as the adapters library writes it. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Which token the head reads; none: the output is of rows. */
  readonly pooling?: 'first' | 'last' | 'none'
  readonly subLayers?: readonly { readonly layer: number; readonly location: 'attention' | 'cross' | 'output' }[]
  readonly args?: { readonly steps: number; readonly learningRate: number; readonly weightDecay: number }
  readonly batches?: readonly { readonly inputs: ExportedInputs; readonly labels: number[] }[]
  readonly expected: {
    readonly output?: string
    readonly gradients?: { readonly [name: string]: string }
    readonly losses?: string
    readonly final?: { readonly [name: string]: string }
  }
  /** How far float32 is from float64 in Python itself, relative to the largest value; null where it has no float64. */
  readonly noise: number | null
}

let folder: Promise<string> | undefined

/** Where the archives lie unpacked: `<name>.pt2`, `<name>.json`, `<name>.safetensors`. */
export function exportedFolder(): Promise<string> {
  folder ??= (async () => {
    // The working folder of the tests is the repository; the script has no types.
    const script = pathToFileURL(join('scripts', 'lib', 'unpack-fixtures.mjs')).href
    const { unpackFixtures } = (await import(script)) as { unpackFixtures: () => string }
    return unpackFixtures()
  })()
  return folder
}

/** The cases of an exported model. */
export class ExportedGroup extends Tensors {
  readonly cases: readonly ExportedCase[]

  private constructor(readonly archive: string) {
    super(archive.replace(/\.pt2$/, '.safetensors'))
    this.cases = JSON.parse(readFileSync(archive.replace(/\.pt2$/, '.json'), 'utf8')).cases
  }

  static async read(name: string): Promise<ExportedGroup> {
    return new ExportedGroup(join(await exportedFolder(), `${name}.pt2`))
  }
}
