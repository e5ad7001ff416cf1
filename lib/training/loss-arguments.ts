import * as check from '../config/check.js'
import { isChoiceHead } from '../config/choice-heads.js'
import {
  type HeadConfig,
  hasManyLabels,
  type LabelledHeadConfig,
  predictsWords,
  readsRows
} from '../config/head-config.js'
import type { ResolvedTrainingArguments, TrainingArguments } from '../config/training-arguments.js'

/** Whether labels of a head are classes, or several of them a row. */
export function hasClasses(head: HeadConfig): head is LabelledHeadConfig {
  if (isChoiceHead(head) || predictsWords(head)) return false
  return hasManyLabels(head) || !readsRows(head) || head.numLabels > 1
}

/** Whether a head chooses one of several each time, which is what smoothing takes some of the certainty from. */
export const choosesOne = (head: HeadConfig): boolean => !readsRows(head) || (hasClasses(head) && !hasManyLabels(head))

/** Some of what trains: its arguments and the heads that answer for it. */
export interface LossArguments {
  /** What stands before an argument's name in messages, such as `args.`. */
  readonly place: string
  readonly args: Pick<ResolvedTrainingArguments, 'classWeights' | 'labelSmoothingFactor'>
  readonly heads: readonly HeadConfig[]
}

const uses = [
  { name: 'classWeights', knows: hasClasses, why: 'has classes' },
  { name: 'labelSmoothingFactor', knows: choosesOne, why: 'chooses one of several classes' }
] as const

/** Of arguments that are for several heads, those that are for this one. */
export function lossArgumentsFor(args: TrainingArguments, head: HeadConfig): TrainingArguments {
  const others = new Set<string>(uses.filter(({ knows }) => !knows(head)).map(({ name }) => name))
  return Object.fromEntries(Object.entries(args).filter(([name]) => !others.has(name)))
}

/** Refuses what the loss of no head knows: what is for several of them means those that it can be for. */
export function checkLossArguments(all: readonly LossArguments[]): void {
  for (const { name, knows, why } of uses) {
    const given = all.filter(({ args }) => args[name] !== null && args[name] !== 0)
    const [first] = given
    if (first === undefined || given.some(({ heads }) => heads.some(knows))) continue
    throw check.valueError(`${first.place}${name}`, `no head that trains ${why}: leave it out`)
  }
}
