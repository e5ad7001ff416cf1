import type { Model } from '../model/model.js'
import type { NativePassGroup } from '../native/pass-types.js'
import type { EncodedDataset } from './encoded.js'
import { encodingBytes } from './encoding-bytes.js'
import type { RunEvaluateOptions } from './evaluate.js'
import { evaluationGroups, evaluationPasses } from './evaluation-batches.js'
import { Samples } from './memory-samples.js'
import { rowTokens } from './row-lengths.js'

/** Rows that a run measures on, and how. */
export interface EvaluatedRows {
  readonly rows: EncodedDataset
  readonly how: RunEvaluateOptions
}

/** What evaluations of a run pass through the network. */
export interface PlannedEvaluations {
  /** Batches of other sizes, then the largest with those whose answers leave the device together with its own. */
  readonly groups: readonly NativePassGroup[]
  readonly largest: { readonly rows: number; readonly tokens: number }
  /** In the whole run. */
  readonly batches: number
  /** What JavaScript takes while the rows are made into numbers. */
  readonly encoding: number
  /** Of all rows. */
  readonly allTokens: number
}

/** Of rows that stay on disk so many batches are looked at, spread over all: the file is not read for the plan. */
const batchesRead = 64

interface Group {
  readonly from: EvaluatedRows
  readonly batches: readonly number[][]
}

/** @param times how many evaluations the run does */
export async function plannedEvaluations(
  model: Model,
  sets: readonly EvaluatedRows[],
  times: number
): Promise<PlannedEvaluations> {
  const samples = new Samples<Group>()
  let largest: { readonly tokens: number; readonly rows: number; readonly group?: Group } = { tokens: 0, rows: 0 }
  let fullest: { readonly tokens: number; readonly group?: Group } = { tokens: 0 }
  let [batches, encoding, allTokens] = [0, 0, 0]
  for (const from of sets) {
    const { rows: data, how } = from
    const groups = evaluationGroups(data.length, how)
    const some = Math.max(1, Math.floor((batchesRead / groups.batches) * groups.count))
    const read = data.staysOnDisk ? Math.min(some, groups.count) : groups.count
    let [tokensRead, rowsRead] = [0, 0]
    for (let i = 0; i < read; i++) {
      const group = { from, batches: groups.batchesOf(Math.floor((i * groups.count) / read)) }
      let together = 0
      for (const rows of group.batches) {
        let tokens = 0
        for (const row of rows) tokens += rowTokens(data, row)
        samples.add(tokens, { from, batches: [rows] })
        if (tokens > largest.tokens) largest = { tokens, rows: rows.length, group }
        together += tokens
        rowsRead += rows.length
        await data.pause()
      }
      if (together > fullest.tokens) fullest = { tokens: together, group }
      tokensRead += together
    }
    batches += times * groups.batches
    encoding += encodingBytes(data, data.length)
    allTokens += rowsRead === 0 ? 0 : (tokensRead / rowsRead) * data.length
  }
  const chosen = new Set([...samples.others(model, 0), fullest.group, largest.group])
  const packed: NativePassGroup[] = []
  for (const group of chosen) if (group !== undefined) packed.push(await pack(group))
  return { groups: packed, largest: { rows: largest.rows, tokens: largest.tokens }, batches, encoding, allTokens }
}

async function pack({ from: { rows: data, how }, batches }: Group): Promise<NativePassGroup> {
  const passOf = evaluationPasses(data.requireHeads('plan'), how)
  const packed = []
  for (const rows of batches) packed.push(await data.batch(rows))
  return { batches: packed.map(({ batch }) => batch), passes: packed.map(passOf) }
}
