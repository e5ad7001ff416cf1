import type { HeadConfig } from '../config/head-config.js'
import type { Row } from '../data/dataset.js'
import { choiceOption, fromOptions, usageError } from './arguments.js'
import { headKinds } from './head-kinds.js'
import { labelsOfText } from './label-list.js'
import { type HeadOfModel, headOfArchive } from './own-head.js'
import { eachRow, type TrainingRows } from './rows.js'

/**
 * The head that the labels of the training rows ask for, or the one that was asked for.
 * @param known names that the rows' file has for its labels
 * @param model whose class may have a head
 */
export async function headFor(
  rows: TrainingRows,
  kind: string | undefined,
  labels: string | undefined,
  known: readonly string[] | null = null,
  model?: HeadOfModel
): Promise<HeadConfig> {
  const heads = await import('../config/head-config.js')
  const { mostClasses } = await import('../config/head-fields.js')
  const choice = await import('../config/choice-heads.js')
  const { refuseHugeIds, summarizeLabels, wholeNumberNames } = await import('../data/labels.js')
  const first = rows.at(0)
  const asked = kind === undefined ? kindOf(first) : choiceOption('head', kind, headKinds)
  if (labels !== undefined && withoutNames.includes(asked)) {
    throw usageError(`--labels: a head for ${asked} has none; leave them out`)
  }
  const own = await headOfArchive(model, asked, labels !== undefined || hasAny(first, 'label', 'labels'))
  if (own !== undefined) return own
  if (asked === 'question-answering') return fromOptions(() => choice.questionAnsweringHead())
  if (asked === 'causal-lm') return fromOptions(() => heads.causalLmHead())
  if (asked === 'masked-lm') return fromOptions(() => heads.maskedLmHead())
  if (asked === 'multiple-choice') return fromOptions(() => choice.multipleChoiceHead({ numChoices: choicesOf(rows) }))
  if (asked === 'dependency-parsing') {
    return fromOptions(() => choice.dependencyParsingHead({ labels: labelOption(labels, asked) ?? relationsOf(rows) }))
  }
  let areImages = false
  let least = Number.POSITIVE_INFINITY
  const found = summarizeLabels(
    watched(rows, (row) => {
      areImages ||= 'pixelValues' in row && row.pixelValues != null
      const { label } = row as { readonly label?: unknown }
      // An id stands in a cell of CSV as its text.
      if (typeof label === 'number' || typeof label === 'string') least = Math.min(least, Number(label))
    }),
    'training rows'
  )
  const wanted = asked ?? found.kind
  const named = known !== null && known.length >= found.numLabels && wanted !== 'regression' ? known : undefined
  // Numbers that are no ids, such as -1 and 1, look like values unless they are said to be classes.
  const numbers = () =>
    asked === 'classification' && found.kind === 'regression'
      ? wholeNumberNames(eachRow(rows), 'training rows')
      : undefined
  const given = labelOption(labels, wanted) ?? found.labels ?? named ?? numbers()
  if (given === undefined && wanted !== 'regression' && found.numLabels > mostClasses)
    refuseHugeIds(eachRow(rows), 'training rows')
  if (given === undefined && wanted === 'classification' && least > 0) warnOfIds(least, found.numLabels)
  const options = given === undefined ? { numLabels: found.numLabels } : { labels: given }
  return fromOptions(() => {
    if (areImages && wanted !== 'tagging') {
      const several = wanted === 'multilabel' || wanted === 'multilabel_classification'
      return heads.imageClassificationHead(
        wanted === 'regression' ? { numLabels: 1 } : { ...options, multilabel: several }
      )
    }
    if (wanted === 'regression') return heads.regressionHead()
    if (wanted === 'tagging') return heads.taggingHead(options)
    return wanted === 'classification' ? heads.classificationHead(options) : heads.multiLabelHead(options)
  })
}

/** Stars from 1 to 5 are ids from 0 as they stand. */
function warnOfIds(least: number, count: number): void {
  const names = Array.from({ length: count - least }, (_, i) => least + i)
  const shown = names.length > 6 ? `${names.slice(0, 3).join(',')},…` : names.join(',')
  process.emitWarning(
    `no training row has ${least === 1 ? 'the label 0' : `a label below ${least}`}: whole numbers are ids from 0, and the head has ` +
      `${count} labels. Where they are names, give them: --labels ${shown}`,
    { code: 'TORCH_ADAPTERS_UNUSED_LABELS' }
  )
}

/** Heads whose labels have no names, or the model's. */
const withoutNames: readonly unknown[] = ['question-answering', 'multiple-choice', 'causal-lm', 'masked-lm', 'default']

const hasAny = (row: Row | undefined, ...names: string[]): boolean =>
  names.some((name) => (row as Readonly<Record<string, unknown>> | undefined)?.[name] != null)

/** The names that --labels gives. */
function labelOption(text: string | undefined, kind: string): string[] | undefined {
  if (text === undefined) return undefined
  if (kind === 'regression') throw usageError('--labels: a regression head has none; give another --head or no names')
  const names = labelsOfText(text)
  if (kind !== 'classification' || names.length > 1) return names
  throw usageError(`--labels: expected at least two names with a comma between, got '${text}'`)
}

/** Kinds that a row's own fields tell, where it has no label. */
function kindOf(row: Row | undefined): (typeof headKinds)[number] | undefined {
  if (hasAny(row, 'choices')) return 'multiple-choice'
  if (hasAny(row, 'label', 'labels')) return undefined
  if (hasAny(row, 'answers', 'answerText', 'startPosition')) return 'question-answering'
  return hasAny(row, 'heads') ? 'dependency-parsing' : undefined
}

/** The most of a row: Python's head has one number for all. */
function choicesOf(rows: TrainingRows): number {
  let most = 1
  for (const row of eachRow(rows))
    most = Math.max(most, ((row as { choices?: readonly unknown[] }).choices ?? []).length)
  return most
}

/** Sorted, so that the order of rows does not matter. */
function relationsOf(rows: TrainingRows): string[] {
  const names = new Set<string>()
  for (const row of eachRow(rows)) {
    for (const name of (row as { relations?: readonly unknown[] }).relations ?? []) names.add(String(name))
  }
  return [...names].sort()
}

/** A large file is read once for all that is to be known. */
function* watched(rows: TrainingRows, see: (row: Row) => void): Generator<Row, void, undefined> {
  for (const row of eachRow(rows)) {
    see(row)
    yield row
  }
}
