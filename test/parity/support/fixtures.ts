import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { AdapterConfigSource, ForwardInputs } from '../../../lib/index.js'

export const fixtures = 'test/parity/fixtures'

export interface Tensor {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

export interface Input {
  readonly inputIds: number[][]
  readonly tokenTypeIds?: number[][]
  readonly attentionMask?: number[][]
}

export type Labels = number[] | number[][]
export type JsonObject = { readonly [key: string]: unknown }

/** Who trains what, and where: the part that cases, folders and curves share. */
export interface Setting {
  readonly name: string
  readonly model: string
  readonly configOverrides?: JsonObject
  readonly train: 'adapter' | 'head' | 'full'
  readonly adapter?: { readonly name: string; readonly config: AdapterConfigSource }
  readonly head?: { readonly name: string; readonly config: JsonObject }
  readonly weights?: { readonly [name: string]: string }
}

export interface Case extends Setting {
  readonly input: Input
  /** Instead of ids: [rows, channels, height, width]. */
  readonly images?: string
  readonly labels?: Labels
  readonly folder?: string
  readonly expected: {
    readonly lastHiddenState: string
    readonly logits?: string
    readonly loss?: number
    readonly gradients?: { readonly [name: string]: string }
  }
}

export interface Curve extends Setting {
  readonly args: { readonly [name: string]: number | string }
  readonly dataset: { readonly inputIds: number[]; readonly label: number | number[] }[]
  readonly expected: {
    readonly loss: string
    readonly learningRate: string
    readonly gradNorm: string
    readonly final: { readonly [name: string]: string }
  }
}

/** A JSON file of the fixtures' own folder: they are gzipped, all of them. */
export function readIndex<T>(name: string): T {
  return JSON.parse(gunzipSync(readFileSync(`${fixtures}/${name}.json.gz`)).toString('utf8'))
}

/** The tensors of a safetensors file. */
export class Tensors {
  readonly #header: { readonly [name: string]: { shape: number[]; data_offsets: [number, number] } }
  readonly #bytes: Buffer
  readonly #start: number

  constructor(file: string) {
    this.#bytes = readFileSync(file)
    this.#start = 8 + Number(this.#bytes.readBigUInt64LE(0))
    this.#header = JSON.parse(this.#bytes.toString('utf8', 8, this.#start))
  }

  tensor(reference: string): Tensor {
    const entry = this.#header[reference]
    if (entry === undefined) throw new Error(`no tensor ${reference}`)
    const [from, to] = entry.data_offsets
    const bytes = new Uint8Array(this.#bytes.subarray(this.#start + from, this.#start + to))
    return { data: new Float32Array(bytes.buffer), shape: entry.shape }
  }

  tensors(references: { readonly [name: string]: string } = {}): Map<string, Tensor> {
    return new Map(Object.entries(references).map(([name, reference]) => [name, this.tensor(reference)]))
  }
}

/** A group of cases with its tensors; the format is described in fixtures/README.md. */
export class Group<T> extends Tensors {
  readonly cases: readonly T[]

  constructor(name: string) {
    super(`${fixtures}/${name}.safetensors`)
    this.cases = readIndex<{ cases: readonly T[] }>(name).cases
  }

  /** What a case's rows are, without labels. */
  input({ images, input }: Pick<Case, 'images' | 'input'>): ForwardInputs {
    return images === undefined ? { ...input } : { pixelValues: this.tensor(images) }
  }
}
