import type { HeadConfig } from '../config/head-config.js'

/** Fields of a head that no tensor and no step of its computation depends on. */
const aside = ['label2id', 'id2label', 'dropoutProb', 'headType', 'multilabel', 'numChoices']

/** Whether two heads compute the same of their tensors. */
export function isSameHead(one: HeadConfig, other: HeadConfig): boolean {
  const fields = (head: HeadConfig) => {
    const entries = Object.entries(head).filter(([key]) => !aside.includes(key))
    const single = 'layers' in head && head.layers === 1
    // Between the layers of a head of one there is nothing.
    const between = ['activationFunction', 'layerNorm']
    return JSON.stringify(entries.filter(([key]) => !(single && between.includes(key))).sort())
  }
  return fields(one) === fields(other)
}
