import type { ReportTable } from '../training/report.js'
import type { SweepMember, SweepResult } from './sweep.js'

/** A sweep as rows of text, the best first: what differs, parameters, loss, and the last evaluation's metrics. */
export function sweepTable({ members, best }: SweepResult): ReportTable {
  const varied = [...new Set(members.flatMap(({ values }) => Object.keys(values)))]
  const metrics = [...new Set(members.flatMap(({ evaluation }) => Object.keys(evaluation?.metrics ?? {})))]
  const measured = members.find((member) => member.best !== undefined)?.best?.metric
  const head = [
    'adapter',
    ...varied,
    'parameters',
    'loss',
    ...(measured === undefined ? [] : [`best ${measured}`]),
    ...metrics
  ]
  const first = (member: SweepMember) => Number(member.name !== best)
  const sorted = [...members].sort((a, b) => first(a) - first(b))
  return {
    head,
    rows: sorted.map((member) => [
      member.ended === 'notFinite' ? `${member.name} (not finite)` : member.name,
      ...varied.map((name) => shown(member.values[name])),
      member.parameters.toLocaleString('en'),
      number(member.loss),
      ...(measured === undefined ? [] : [number(member.best?.value)]),
      ...metrics.map((name) => number(member.evaluation?.metrics[name]))
    ])
  }
}

const number = (value: number | undefined): string => (value === undefined ? '' : value.toFixed(4))

const shown = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
