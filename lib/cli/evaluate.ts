import { lastAdapters } from '../config/composition.js'
import { counted } from '../config/counted.js'
import { defaultHead } from '../exchange/static-heads.js'
import { headOfRow } from '../model/head-rule.js'
import type { Model } from '../model/model.js'
import { channelCount } from '../model/setup.js'
import { findAdapters } from './adapters.js'
import { countOption, exitStatus, inputFile, parseCommand, required, usageError } from './arguments.js'
import { expectOwnHead, requireOwnHead } from './head-of-model.js'
import {
  type HeadSource,
  headSource,
  headUsage,
  loadHeadAlone,
  loadModel,
  loadNamed,
  loadWithHead,
  modelOptions,
  modelUsage,
  problemOption,
  problemUsage,
  untilInterrupted
} from './model-options.js'
import { printJson } from './output.js'
import { answersItself } from './own-head.js'
import { openRows, rowsUsage } from './rows.js'
import { checkBeside, type LoadedSetup, loadSetup, setupSource } from './setup.js'

export const summary = 'measure an adapter, a head or a fine-tuned model on labelled rows'

const usage = `Usage: torch-adapters evaluate --model MODEL [--adapter ADAPTER | --head HEAD] --data FILE [OPTIONS]

Prints the loss and, by the kind of the head, accuracy, macro-F1, Matthews' or Pearson's correlation, the mean squared
error, exact match and F1 of answers, or attachment scores.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted.

  --model MODEL           folder or hub id of the base model, or an archive of torch.export (.pt2)
  --adapter ADAPTER       folder or hub id of an adapter with its head, or of one for the head of MODEL's class, where
                          that is an archive
${problemUsage}
${headUsage}
  --setup SETUP           for all rows: instead of --adapter the folder that fuse wrote, a fusion with its head over its
                          adapters, or another setup whose last adapter has a head; or a composition of what --adapter
                          loads (then more than one), such as 'Stack[en, ner]', whose last adapter's head answers
  --data FILE             rows as JSONL, CSV, TSV or Parquet: text, text_pair, words or input_ids, and label
  --batch-size N          rows in one pass. Default 32
${modelUsage}
  --json                  one JSON object
  --help                  this text
${rowsUsage}
`

/** Under a setup each row's head answers; gives the one that is active. */
function headUnder({ composition }: LoadedSetup, model: Model, given: string): string | null {
  if (channelCount(composition) > 1)
    throw usageError(
      `--setup: expected one answer for each row, got ${given}: evaluate the children of Parallel one by one`
    )
  const rule = { ...model.headChoice.rule, otherwise: null }
  if (lastAdapters(composition).every((last) => headOfRow(rule, model.heads, last) !== null)) return model.activeHead
  if (answersItself(model)) return defaultHead
  const expected = 'a folder with the head that answers, as fuse writes it, or a composition whose last adapter has one'
  throw usageError(`--setup: expected ${expected}, got ${given}`)
}

export async function run(argv: string[]): Promise<number> {
  const { values } = parseCommand(argv, {
    ...modelOptions,
    adapter: { type: 'string', short: 'a', multiple: true },
    head: { type: 'string' },
    'problem-type': { type: 'string' },
    setup: { type: 'string' },
    data: { type: 'string', short: 'd' },
    'batch-size': { type: 'string' }
  })
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  const adapters = values.adapter ?? []
  const setup = values.setup === undefined ? undefined : await setupSource(values.setup)
  if (setup !== undefined) checkBeside(setup, adapters, values.head)
  else if (adapters.length > 1) {
    throw usageError(
      `--adapter: expected one, or a --setup of them such as 'Stack[a, b]', got ${adapters.join(' and ')}`
    )
  }
  const source = setup === undefined ? headSource(adapters, values.head, required('model', values.model)) : 'adapters'
  const data = inputFile('data', required('data', values.data))
  const batchSize = countOption('batch-size', values['batch-size'])
  const offline = values.offline || undefined
  const sources = await findAdapters(adapters, offline)
  const found = setup === undefined ? (sources[0] ?? null) : null
  const problem = await problemOption(values['problem-type'], sources)
  using rows = await openRows(data)
  if (source === 'model') await expectOwnHead(values.model ?? '', offline)
  const model = await loadModel(values)
  /** Loads what was asked for and makes it active with its head, whose name it gives. */
  const answering = async (to: Model, from: Exclude<HeadSource, 'model'>): Promise<string | null> => {
    if (setup !== undefined) return headUnder(await loadSetup(to, setup, sources, problem), to, values.setup ?? '')
    const own = from === 'adapters' && found !== null ? await loadWithHead(to, found, problem) : undefined
    if (own === undefined && found !== null) await loadNamed(to, found, problem)
    const head = from === 'adapters' ? (own ?? '') : await loadHeadAlone(to, from.folder, offline)
    to.setActiveAdapters(found?.name ?? null, { head })
    return head
  }
  try {
    if (source === 'model') requireOwnHead(model)
    const name = source === 'model' ? model.activeHead : await answering(model, source)
    const { evaluate } = await import('../training/evaluate.js')
    const result = await untilInterrupted((signal) => evaluate(model, rows, { batchSize, signal }))
    if (result === 'interrupted') return exitStatus.interrupted
    if (values.json) {
      printJson({ adapter: found?.name ?? null, head: name, ...result })
    } else {
      const { loss, metrics, seconds } = result
      const entries = Object.entries({ loss, ...metrics })
      const width = Math.max(10, ...entries.map(([name]) => name.length))
      const lines = entries.map(([name, value]) => `${name.padEnd(width)} ${value.toFixed(4)}`)
      process.stdout.write(`${lines.join('\n')}\n${counted(result.rows, 'row')} in ${seconds.toFixed(1)} s\n`)
    }
    return exitStatus.done
  } finally {
    model.dispose()
  }
}
