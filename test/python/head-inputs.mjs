// What each kind of head reads of one row, and its answer as a list of numbers: common.py's answer_of is the same.

/** Which word each token belongs to: the row's ends to none, and the second word is of two tokens. */
const wordsOf = (row) => row.map((_, i) => (i === 0 || i === row.length - 1 ? -1 : i > 2 ? i - 2 : i - 1))

export function inputsOf(model, row, headType) {
  if (model.config.imageSize !== null) return { pixelValues: [row] }
  if (headType === 'multiple_choice') return { inputIds: [row, row.slice(0, Math.ceil(row.length / 2))], choices: [2] }
  return { inputIds: [row], ...(headType === 'dependency_parsing' && { wordIds: [wordsOf(row)] }) }
}

/** Token-wise logits as a list for each token. */
export function valuesOf({ logits, relationLogits }) {
  if (relationLogits !== undefined) return [...logits.data, ...relationLogits.data]
  if (logits.shape.length < 3) return [...logits.data]
  const width = logits.shape.at(-1)
  return Array.from({ length: logits.data.length / width }, (_, i) => [
    ...logits.data.subarray(i * width, (i + 1) * width)
  ])
}
