import { commonArguments } from '../config/training-arguments.js'
import { saveAnyAdapter } from '../model/exchange.js'
import type { TasksEvent } from '../tasks/events.js'
import type { SweepResult } from '../tasks/sweep.js'
import type { ReportTable } from '../training/report.js'
import { exitStatus, fromOptions, usageError } from './arguments.js'
import { findBelow } from './below.js'
import { eachEvalRows, evalFiles, evalNames } from './eval-sets.js'
import { modelUsage } from './model-options.js'
import { jsonLine } from './output.js'
import { rowsUsage } from './rows.js'
import { sharedUsage } from './train-options.js'
import { printPlan } from './train-plan.js'
import { checkBest, parseTraining, readTraining } from './train-setup.js'
import { describeHead, refuseKnown } from './train-what.js'
import { TrainingModel } from './training-model.js'
import { runTrainingIn } from './training-run.js'
import { withProgress } from './with-progress.js'

export const summary = 'train adapters that differ in some settings side by side, and keep the best'

const usage = `Usage: torch-adapters sweep [CONFIG] --model MODEL --train FILE --output FOLDER --vary NAME=A,B,... [OPTIONS]

Trains an adapter for each combination of what varies, all in one pass through the frozen model a step, each as it
would learn alone. FOLDER then holds the best by the evaluations, or without --eval by the loss, and the curves of all.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted: what was done is saved, and resume goes on.

  --vary NAME=A,B,...     what each has for itself: learningRate, weightDecay and other training arguments, seed,
                          fields of the adapter's config such as reduction_factor, or whole configs:
                          'config=seq_bn,lora[r=4,alpha=8]'. With commas, or a list in JSON; may be repeated, each NAME
                          once. In a config: "sweep": {"learningRate": [1e-3, 1e-4]}
  --below [NAME=]ADAPTER  an adapter that has learned before and lies, as it is, below each. May be repeated, the lowest
                          first; in CONFIG a list
  --config CONFIG         what the varied fields change: a preset, a shorthand or JSON. Default seq_bn
  --name NAME             the adapters are called NAME-1, NAME-2 and so on. Default: FOLDER's

Everything else is as with train:
${sharedUsage}
${modelUsage}
  --json                  one JSON object a line: every event but single steps, and last the result
  --help                  this text
${rowsUsage}
`

/** `NAME=A,B` or `NAME=[…]`, each name once. */
export function gridOf(texts: readonly string[]): Record<string, unknown[]> {
  if (texts.length === 0) throw usageError('--vary is missing: expected NAME=A,B,...')
  const grid: Record<string, unknown[]> = {}
  for (const text of texts) {
    const at = text.indexOf('=')
    if (at < 1) throw usageError(`--vary: expected NAME=A,B,..., got '${text}'`)
    const name = text.slice(0, at)
    if (Object.hasOwn(grid, name)) throw usageError(`--vary: expected the values of ${name} in one list, got two`)
    grid[name] = valuesOf(text.slice(at + 1), text)
  }
  return grid
}

function valuesOf(list: string, text: string): unknown[] {
  if (!list.startsWith('[')) return splitOutside(list).map((value) => plainValue(value.trim()))
  try {
    return JSON.parse(list) as unknown[]
  } catch (error) {
    throw usageError(`--vary: expected a list in JSON after '[', got '${text}': ${(error as Error).message}`)
  }
}

/** At the commas that stand in no brackets, as those of `lora[r=4,alpha=8]` do. */
function splitOutside(list: string): string[] {
  const parts = ['']
  let depth = 0
  for (const letter of list) {
    if ('[{('.includes(letter)) depth++
    if (']})'.includes(letter)) depth--
    if (letter === ',' && depth === 0) parts.push('')
    else parts[parts.length - 1] += letter
  }
  return parts
}

function plainValue(text: string): unknown {
  const number = Number(text)
  if (text !== '' && Number.isFinite(number)) return number
  return text === 'true' ? true : text === 'false' ? false : text
}

export async function run(argv: string[]): Promise<number> {
  const parsed = await parseTraining(argv, usage, {
    vary: { type: 'string', multiple: true }
  } as const)
  if (parsed === undefined) return exitStatus.done
  using model = new TrainingModel(parsed.values)
  const { values, plan, folder, args, train, evaluation, head } = await readTraining(parsed, model, commonArguments)
  const { config, name, format } = plan
  const grid = gridOf(values.vary ?? [])
  if (config === null) throw usageError(`--tune: a sweep is one of adapters, got '${plan.tuning}'`)
  const { sweepMembers } = await import('../tasks/sweep.js')
  const each = inGrid(() => sweepMembers(grid, config, args).each)
  const sets = evalNames(evalFiles(values.eval))
  for (const own of each) {
    if (evaluation !== undefined) checkBest(own, head, sets)
  }
  const { incomparable } = await import('../tasks/comparable.js')
  const without = incomparable(each, head, { sets, evaluates: each[0]?.evalStrategy !== 'no' })
  if (without !== undefined) {
    const { differing, problem, measure } = without
    const files = evaluation === undefined ? '--eval FILE and ' : ''
    throw usageError(`--vary ${differing}: ${problem}; name a measure: ${files}--best ${measure}`)
  }
  if (values.report !== undefined) throw usageError(`--report: the curves are in ${folder}/report.html`)
  const { json } = values
  const members = each.map((_, i) => `${name}-${i + 1}`)
  const below = await findBelow('--below', values.below ?? [], members, values.offline || undefined)
  const settings = {
    ...{ config, head: name, name, args, evalDataset: evaluation },
    below: below.sources.map((one) => one.name)
  }
  return await runTrainingIn<TasksEvent, SweepResult>({
    ...{ values, model, folder, args, rows: [train, ...eachEvalRows(evaluation)], heads: describeHead(head) },
    record: { ...values, name, sweep: grid, below: values.below && below.record },
    prepare: async (model) => {
      for (const one of [name, ...members]) refuseKnown(model, one)
      await below.load(model)
      model.addHead(name, head)
    },
    plan: values.plan
      ? async (model) => {
          const { planSweep } = await import('../tasks/sweep.js')
          await printPlan({ plan: () => planSweep(model, train, grid, settings) }, json)
        }
      : undefined,
    train: async (model, { signal, onEvent }) => {
      const { trainSweep } = await import('../tasks/sweep.js')
      return await withProgress(json, async (show) => {
        return await trainSweep(model, train, grid, {
          ...{ ...settings, signal, saveOnAbort: true },
          onEvent: (event) => {
            onEvent(event)
            show(event)
          }
        })
      })
    },
    finish: async (model, result) => {
      await saveAnyAdapter(model, folder, result.best, { format })
      await showResult(result, folder, json)
      if (!json) process.stdout.write(below.describe(result.best, folder))
    }
  })
}

/** The library's grid is --vary here. */
function inGrid<T>(read: () => T): T {
  try {
    return fromOptions(read)
  } catch (error) {
    throw usageError((error as Error).message.replace(/^grid(?=[.:])/, '--vary'))
  }
}

async function showResult(result: SweepResult, folder: string, json: boolean): Promise<void> {
  if (json) {
    process.stdout.write(jsonLine({ type: 'result', folder, ...result }))
    return
  }
  const { sweepTable } = await import('../tasks/sweep-table.js')
  process.stdout.write(textTable(sweepTable(result)))
  process.stdout.write(`the best, '${result.best}', is in ${folder}\n`)
}

function textTable({ head, rows }: ReportTable): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  return `${[head, ...rows].map(line).join('\n')}\n`
}
