import { concatenate } from '../data/concatenate.js'
import { ignoredLabel } from '../data/labels.js'
import type { NativeBatch, NativeForwardOptions, NativeSetup } from '../native/pass-types.js'
import type { NativeTrainingPass } from '../native/trainer-types.js'
import type { LabelledBatch } from '../training/encoded.js'

/** A batch, and who learns from it. */
export interface OwnedBatch extends LabelledBatch {
  /** For each of `answers` the member that learns from its loss, and what that counts in what several members share. */
  readonly members: readonly number[]
  readonly weights: readonly number[]
}

/** Batches of several tasks as one, each row under its own setup, each task's rows with a loss of their own. */
export function mergeBatches(batches: readonly OwnedBatch[]): { batch: NativeBatch; pass: NativeTrainingPass } {
  const [first] = batches
  if (first === undefined) throw new Error('no batch')
  const owners = {
    headMembers: batches.flatMap(({ members }) => members),
    headWeights: batches.flatMap(({ weights }) => weights)
  }
  if (batches.length === 1) return { batch: first.batch, pass: { ...first.pass, ...owners } }
  // What each would share among its copies is not shared with others: copies become rows.
  const each = batches.map(({ batch, pass }) => repeated(batch, pass.copies ?? 1))
  const rows = each.map(({ rowLengths }) => rowLengths.length)
  return {
    batch: mergedRows(each),
    pass: {
      ...mergedSetups(
        batches.map(({ pass }) => pass),
        rows
      ),
      ...mergedHeads(batches, rows),
      ...owners,
      skipLayers: first.pass.skipLayers,
      frozenStates: true
    }
  }
}

function repeated(batch: NativeBatch, copies: number): NativeBatch {
  return copies === 1 ? batch : mergedRows(new Array<NativeBatch>(copies).fill(batch))
}

function mergedRows(batches: readonly NativeBatch[]): NativeBatch {
  const some = (has: (batch: NativeBatch) => unknown) => batches.some((batch) => has(batch) !== undefined)
  return {
    inputIds: concatenate(batches.map(({ inputIds }) => inputIds)),
    rowLengths: concatenate(batches.map(({ rowLengths }) => rowLengths)),
    ...(some((batch) => batch.sourceIds) && {
      sourceIds: concatenate(batches.map(({ sourceIds }) => sourceIds ?? filled(0, 0))),
      sourceLengths: concatenate(batches.map(({ sourceLengths }) => sourceLengths ?? filled(0, 0)))
    }),
    ...(some((batch) => batch.pixelValues) && { pixelValues: batches.flatMap(({ pixelValues }) => pixelValues ?? []) }),
    ...(some((batch) => batch.tokenTypeIds) && {
      tokenTypeIds: concatenate(batches.map(({ inputIds, tokenTypeIds }) => tokenTypeIds ?? filled(inputIds.length, 0)))
    }),
    ...(some((batch) => batch.choices) && {
      choices: concatenate(batches.map(({ rowLengths, choices }) => choices ?? filled(rowLengths.length, 1)))
    }),
    ...(some((batch) => batch.wordIds) && {
      wordIds: concatenate(batches.map(({ inputIds, wordIds }) => wordIds ?? filled(inputIds.length, -1)))
    })
  }
}

function mergedSetups(passes: readonly NativeForwardOptions[], rows: readonly number[]) {
  const setups: NativeSetup[] = []
  const rowSetups = passes.map((pass, i) => {
    const before = setups.length
    setups.push(...pass.setups)
    if (pass.rowSetups === undefined) return filled(rows[i] ?? 0, pass.setups.length === 0 ? -1 : before)
    return pass.rowSetups.map((setup) => (setup < 0 ? -1 : before + setup))
  })
  return { setups, rowSetups: concatenate(rowSetups) }
}

/** Heads are named once for each task: two tasks with one head have two losses. */
function mergedHeads(batches: readonly OwnedBatch[], rows: readonly number[]) {
  let before = 0
  const rowHeads = batches.map(({ pass, answers }, i) => {
    const own = pass.rowHeads?.map((head) => head + before) ?? filled(rows[i] ?? 0, before)
    before += answers.length
    return own
  })
  return {
    head: null,
    heads: batches.flatMap(({ answers }) => answers.map(({ head }) => head)),
    rowHeads: concatenate(rowHeads),
    headLabels: batches.flatMap(({ answers }) => answers.map(({ labels }) => labels))
  }
}

const filled = (length: number, value: number): Int32Array => new Int32Array(length).fill(value)

/** Labels that count for a loss: a task whose batch has none learns nothing from it. */
export function hasLabels({ labels }: LabelledBatch['answers'][number]): boolean {
  return labels instanceof Float32Array ? labels.length > 0 : labels.some((label) => label !== ignoredLabel)
}
