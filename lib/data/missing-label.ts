import { isChoiceHead } from '../config/choice-heads.js'
import { type HeadConfig, hasManyLabels, readsRows } from '../config/head-config.js'
import { AdapterError } from '../native/errors.js'
import { withoutLabels } from './labels.js'
import { didYouMeanLabel } from './row-fields.js'

/** The field of a row that a head learns from, and what stands there. */
function learnedFrom(head: HeadConfig): readonly [field: string, what: string] {
  switch (head.headType) {
    case 'question_answering':
      return ['answers', "answers: { text: ['…'], answer_start: [0] }, with empty lists where there is none"]
    case 'dependency_parsing':
      return ['heads', 'heads and relations, one of each for each word']
    case 'multiple_choice':
      return ['label', 'label, the number of the right choice or its text']
    case 'tagging':
      return ['labels', 'labels, one for each word']
    default:
      return readsRows(head) && hasManyLabels(head)
        ? ['labels', 'labels, a list of those that apply']
        : ['label', 'label']
  }
}

/** Of a row to train or evaluate on that says nothing of what is right. */
export function missingLabel(row: object, head: HeadConfig, place: string): AdapterError {
  const [field, what] = learnedFrom(head)
  const problem = `${place} has no ${field === 'labels' ? 'label' : field}`
  const meant = didYouMeanLabel(Object.keys(row), field)
  const others = isChoiceHead(head) || meant !== '' ? '' : ` ${withoutLabels}`
  return new AdapterError('ERR_NO_LABELS', 'read the dataset', problem, {
    hint: `A head of kind ${head.headType} learns from ${what}.${meant} predict() answers rows without.${others}`
  })
}
