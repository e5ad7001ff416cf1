import type { HeadConfig } from '../config/head-config.js'
import type { ImageSize } from '../config/image-shape.js'
import { collate, type EncodedRow } from '../data/collate.js'
import { labelsTokens } from '../data/labels.js'
import { nativeCall } from '../native/errors.js'
import type { NativeSetup } from '../native/pass-types.js'
import type { TokenAttentions } from './fusion-attentions.js'
import type { Model } from './model.js'
import { indexSetups } from './setup.js'

/** What a row passes through, and the head that then reads it. */
export interface Copy {
  readonly setup: NativeSetup
  readonly head: string
}

/** One row for the core: a whole row, a window or a choice. All of a pass have as many copies. */
export interface Part {
  readonly encoded: EncodedRow
  readonly copies: readonly Copy[]
}

export interface PartPass {
  readonly skipLayers: readonly number[]
  readonly outputFusionAttentions: boolean
  /** Of images, where it is not the model's. */
  readonly imageSize: ImageSize | undefined
}

/** What one copy of a part gives. */
export interface PartAnswer {
  readonly logits: Float32Array
  /** Where asked for. */
  readonly attentions?: TokenAttentions
}

/** One pass: for each part the answers of its copies. */
export async function passParts(model: Model, parts: readonly Part[], asked: PartPass): Promise<PartAnswer[][]> {
  // Rows of one setup stay side by side: each run of them is one product in every adapter.
  const groups = new Map<string, number>()
  const groupOf = ({ copies }: Part) => {
    const key = JSON.stringify(copies.map(({ setup }) => setup))
    return groups.get(key) ?? groups.set(key, groups.size).size - 1
  }
  const batch = collate(
    parts.map(({ encoded }) => encoded),
    parts.map(groupOf)
  )
  const rows = Array.from({ length: parts[0]?.copies.length ?? 1 }, (_, copy) => copy).flatMap((copy) =>
    Array.from(batch.order, (number, i) => {
      const { encoded, copies } = parts[number] as Part
      return { ...(copies[copy] as Copy), number, encoded, tokens: batch.rowLengths[i] ?? 0 }
    })
  )
  const heads = [...new Set(rows.map(({ head }) => head))]
  const rowHeads = Int32Array.from(rows, ({ head }) => heads.indexOf(head))
  const { native } = model
  const { headLogits = [], fusionAttentions = [] } = await nativeCall(() =>
    native.forward(asked.imageSize === undefined ? batch : { ...batch, imageSize: asked.imageSize }, {
      copies: rows.length / parts.length,
      ...indexSetups(rows.map(({ setup }) => setup)),
      head: null,
      heads,
      rowHeads,
      skipLayers: asked.skipLayers,
      outputFusionAttentions: asked.outputFusionAttentions
    })
  )
  const read = heads.map(() => 0)
  const answers = parts.map((): PartAnswer[] => [])
  let token = 0
  rows.forEach(({ number, encoded, tokens, head: name }, i) => {
    const head = rowHeads[i] ?? 0
    const logits = headLogits[head]
    const config = model.heads.get(name)
    if (logits === undefined || config === undefined) return
    const begin = read[head] ?? 0
    const end = begin + (logits.shape[1] ?? 1) * answerCount(config, encoded, tokens)
    read[head] = end
    answers[number]?.push({
      logits: logits.data.slice(begin, end),
      ...(asked.outputFusionAttentions && { attentions: { all: fusionAttentions, first: token, count: tokens } })
    })
    token += tokens
  })
  return answers
}

/** Rows of logits that a head gives for a row. */
export function answerCount(config: HeadConfig, { parse }: EncodedRow, tokens: number): number {
  if (config.headType === 'dependency_parsing') {
    const words = parse?.words.length ?? 0
    return words * (words + 1)
  }
  return labelsTokens(config) || config.headType === 'question_answering' ? tokens : 1
}
