import * as check from '../config/check.js'
import type { ReportTable } from '../training/report.js'
import type { SweepMember, SweepResult } from './sweep.js'

/**
 * A sweep as rows of text in the order of its ranking: what differs, parameters, the mean loss of training, and of the
 * evaluation that each is ranked by its step, loss and metrics.
 */
export function sweepTable(result: SweepResult): ReportTable {
  const { members, ranking } = check.checkObject('result', result) as unknown as SweepResult
  check.checkArray('result.members', members)
  check.checkArray('result.ranking', ranking)
  const varied = [...new Set(members.flatMap(({ values }) => Object.keys(values)))]
  const metrics = [...new Set(members.flatMap(({ keptEvaluation }) => Object.keys(keptEvaluation?.metrics ?? {})))]
  const isMeasured = members.some(({ keptEvaluation }) => keptEvaluation !== undefined)
  const head = [
    'adapter',
    ...varied,
    'parameters',
    'training loss',
    ...(isMeasured ? ['evaluated at step', 'evaluation loss'] : []),
    ...metrics
  ]
  const place = ({ name }: SweepMember) => ranking.indexOf(name)
  const sorted = [...members].sort((a, b) => place(a) - place(b))
  return {
    head,
    rows: sorted.map((member) => [
      member.ended === 'notFinite' ? `${member.name} (not finite)` : member.name,
      ...varied.map((name) => shown(member.values[name])),
      member.parameters.toLocaleString('en'),
      number(member.loss),
      ...(isMeasured ? [String(member.keptEvaluation?.step ?? ''), number(member.keptEvaluation?.loss)] : []),
      ...metrics.map((name) => number(member.keptEvaluation?.metrics[name]))
    ])
  }
}

const number = (value: number | undefined): string => (value === undefined ? '' : value.toFixed(4))

const shown = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
