import { checkInteger, checkNumber } from '../config/check.js'
import type { EncodedRow } from './collate.js'
import { ignoredLabel } from './labels.js'
import { Random } from './random.js'

export interface MaskingOptions {
  /** Share of the tokens that are to be guessed. Default 0.15. */
  readonly probability?: number
  readonly maskId: number
  /** Random words are drawn below this id. */
  readonly vocabSize: number
  /** Never masked, never drawn. */
  readonly specialIds: ReadonlySet<number>
}

/**
 * BERT's task: of the chosen tokens 80 % become the mask, 10 % a random word, 10 % stay; the label is the token that
 * was there. `seeds` name the masking, such as (seed, epoch, row): the same ones give the same masks.
 */
export function maskTokens(row: EncodedRow, options: MaskingOptions, ...seeds: readonly number[]): EncodedRow {
  const { maskId, vocabSize, specialIds } = options
  const probability = checkNumber('probability', options.probability ?? 0.15, { above: 0, to: 1 })
  checkInteger('maskId', maskId, 0, vocabSize - 1)
  const random = Random.fromSeed(...seeds)
  const inputIds = row.inputIds.slice()
  const label = new Int32Array(inputIds.length).fill(ignoredLabel)
  row.inputIds.forEach((id, i) => {
    if (specialIds.has(id) || random.nextFloat() >= probability) return
    label[i] = id
    const kind = random.nextFloat()
    if (kind < 0.8) inputIds[i] = maskId
    else if (kind < 0.9) inputIds[i] = randomWord(random, vocabSize, specialIds)
  })
  return { inputIds, tokenTypeIds: row.tokenTypeIds, label }
}

function randomWord(random: Random, vocabSize: number, specialIds: ReadonlySet<number>): number {
  for (;;) {
    const id = random.nextBelow(vocabSize)
    if (!specialIds.has(id) || specialIds.size >= vocabSize) return id
  }
}
