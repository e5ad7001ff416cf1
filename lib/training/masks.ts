import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { EncodedRow } from '../data/collate.js'
import { ignoredLabel } from '../data/labels.js'
import { maskTokens } from '../data/masking.js'
import { filesNotRead, type Tokenized } from '../data/needed-tokenizer.js'
import { AdapterError } from '../native/errors.js'

/**
 * Masked-language modelling over rows without labels, as transformers' DataCollatorForLanguageModeling has it: each token
 * that is not special is drawn with `probability` on its own. What is drawn follows from `seeds`, epoch and row alone.
 */
export interface Masking {
  readonly probability: number
  readonly seeds: readonly number[]
  /** Draws again where a batch has nothing to guess, which happens with few short rows; its loss would be no number. */
  readonly needsOne: boolean
}

/** Other masks in each epoch. `place`: of a batch whose rows have no numbers of their own. */
export const trainingMasks = (
  { mlmProbability, dataSeed, seed }: Pick<ResolvedTrainingArguments, 'mlmProbability' | 'dataSeed' | 'seed'>,
  ...place: readonly number[]
): Masking => ({ probability: mlmProbability, seeds: [dataSeed ?? seed, ...place], needsOne: true })

/** The same masks in each evaluation, whatever the run's seed. */
export const evaluationMasks = (probability = 0.15): Masking => ({ probability, seeds: [0], needsOne: false })

/** What has to be known of the words, or an error that names the row. */
export function checkMaskable({ tokenizer, source }: Tokenized, place: string): number {
  if (tokenizer?.maskId !== undefined) return tokenizer.maskId
  const why = tokenizer === undefined ? 'the model has no tokenizer' : 'the tokenizer has no mask token'
  throw new AdapterError(
    'ERR_NO_LABELS',
    'read the dataset',
    `${place} has no label, and ${why}${tokenizer === undefined ? filesNotRead(source) : ''}`,
    {
      hint: 'Give the hidden tokens as labels (-100 elsewhere), or a model whose tokenizer has a mask token.'
    }
  )
}

export interface Words extends Tokenized {
  /** Of the model; its tokenizer may know fewer. */
  readonly vocabSize: number
}

/** Rows of one batch, masked. `numbers`: epoch and row of each. */
export function maskRows(
  rows: readonly EncodedRow[],
  numbers: readonly (readonly [epoch: number, row: number])[],
  words: Words,
  { probability, seeds, needsOne }: Masking
): EncodedRow[] {
  const { tokenizer, vocabSize } = words
  const options = {
    probability,
    maskId: checkMaskable(words, 'a row'),
    vocabSize: Math.min(vocabSize, tokenizer?.vocabSize ?? vocabSize),
    specialIds: tokenizer?.specialIds ?? new Set<number>()
  }
  for (let draw = 0; ; draw++) {
    const masked = rows.map((row, i) => maskTokens(row, options, ...seeds, ...(numbers[i] ?? []), draw))
    if (!needsOne || draw === mostDraws || masked.some(isAsked)) return masked
  }
}

/** Rows of special tokens alone have nothing to draw. */
const mostDraws = 100

const isAsked = ({ label }: EncodedRow): boolean => label?.some((id) => id !== ignoredLabel) === true
