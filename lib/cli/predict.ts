import { didYouMean, editDistance, plain } from '../config/nearest.js'
import { placeOf, type Row } from '../data/dataset.js'
import type { Model } from '../model/model.js'
import type { Prediction } from '../model/predict.js'
import { AdapterError } from '../native/errors.js'
import { adapterUsage, findAdapters } from './adapters.js'
import { countOption, exitStatus, inputFile, parseCommand, required } from './arguments.js'
import {
  headSource,
  headUsage,
  loadHeadAlone,
  loadModel,
  loadWithHead,
  modelOptions,
  modelUsage,
  untilInterrupted
} from './model-options.js'
import { checkOutputFile, FileOutput, jsonLine, printJson } from './output.js'
import { rowsUsage } from './rows.js'

export const summary = 'answer rows of text or ids with an adapter, a head or a fine-tuned model'

const usage = `Usage: torch-adapters predict --model MODEL [--adapter ADAPTER... | --head HEAD] --input FILE [OPTIONS]

Answers every row with a JSON object on a line, in the order of the rows: "logits", and by the kind of the head "label",
"label_id" and "score", or "labels" and "scores", or "answer", "start", "end" and "score", or "tokens". Those of a row
of words are its words, each with its label, or null where the row was too long for it; of other rows all tokens,
special ones included. An "id" comes back.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted.

  --model MODEL           folder or hub id of the base model
${adapterUsage}
${headUsage}
  --input FILE            rows as JSONL, CSV or TSV: text, text_pair, words, input_ids, question and context, or choices
  --output FILE           where the answers go. Default: standard output
  --batch-size N          rows in one pass. Default 32
${modelUsage}
  --json                  with --output: one JSON object about the run on standard output
  --help                  this text
${rowsUsage}
`

/** Rows in memory at a time, in batches. */
const batchesAtOnce = 32

interface Work {
  readonly model: Model
  /** Adapters that rows choose from. */
  readonly names: readonly string[]
  /** Answers all rows where there are no adapters. */
  readonly head: string | undefined
  readonly input: string
  readonly batchSize: number
  readonly write: (text: string) => void
}

async function answerAll({ model, names, head, input, batchSize, write }: Work, signal: AbortSignal): Promise<number> {
  const { readRows } = await import('../data/read-rows.js')
  let count = 0
  let waiting: Row[] = []
  const flush = async () => {
    const adapters = waiting.map((row) => adapterOf(row, names, placeOf(row, input)))
    const answers = await model.predict(waiting, { adapters, head, batchSize, signal })
    answers.forEach((answer, i) => {
      write(jsonLine(withId(answer, waiting[i])))
    })
    count += waiting.length
    waiting = []
  }
  for await (const row of readRows(input)) {
    waiting.push(row)
    if (waiting.length >= batchSize * batchesAtOnce) await flush()
  }
  if (waiting.length > 0) await flush()
  return count
}

/** Other fields of a row are kept when it is read. */
export function field(row: Row | undefined, name: string): unknown {
  return (row as Record<string, unknown> | undefined)?.[name]
}

/** The adapter that a row of a file names, or the first. */
export function adapterOf(row: Row, names: readonly string[], where: string): string | null {
  const given = field(row, 'adapter')
  const misspelled = given === undefined && Object.keys(row).find((name) => editDistance(plain(name), 'adapter') <= 1)
  if (misspelled) {
    throw new AdapterError('ERR_INVALID_FILE', '', `${where}: unknown field '${misspelled}'`, {
      hint: "Did you mean 'adapter'?"
    })
  }
  // As in the API, null is no adapter; a row without the field gets the first.
  const wanted = given === undefined ? (names[0] ?? null) : given
  if (wanted === null || (typeof wanted === 'string' && names.includes(wanted))) return wanted
  throw new AdapterError('ERR_INVALID_FILE', '', `${where}: no adapter '${String(wanted)}'`, {
    expected: names.length === 0 ? 'no "adapter", because none is loaded' : `one of ${names.join(', ')}, or null`,
    hint: `Load it with --adapter, or change the row.${didYouMean(String(wanted), names)}`
  })
}

/** Token heads answer with a list for each token. */
function withId(answer: Prediction, row: Row | undefined): object {
  const id = field(row, 'id')
  const { tokens, logits } = answer
  const width = tokens === undefined || tokens.length === 0 ? 0 : logits.length / tokens.length
  // Of a parse each word has scores for all heads.
  if (tokens?.some((token) => 'head' in token)) return { ...(id === undefined ? {} : { id }), ...answer }
  const rows = tokens?.map((_, i) => logits.subarray(i * width, (i + 1) * width))
  return { ...(id === undefined ? {} : { id }), ...answer, logits: rows ?? logits }
}

export async function run(argv: string[]): Promise<number> {
  const { values } = parseCommand(argv, {
    ...modelOptions,
    adapter: { type: 'string', short: 'a', multiple: true },
    input: { type: 'string', short: 'i' },
    output: { type: 'string', short: 'o' },
    head: { type: 'string' },
    'batch-size': { type: 'string', default: '32' }
  })
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  const sources = values.adapter ?? []
  const headFrom = headSource(sources, values.head, required('model', values.model))
  const input = inputFile('input', required('input', values.input))
  const batchSize = countOption('batch-size', values['batch-size']) ?? 32
  if (values.output !== undefined) checkOutputFile('output', values.output, { input })
  const offline = values.offline || undefined
  const adapters = await findAdapters(sources, offline)
  const names = adapters.map(({ name }) => name)
  const model = await loadModel(values)
  const output = values.output === undefined ? undefined : new FileOutput(values.output)
  let finished = false
  try {
    for (const adapter of adapters) await loadWithHead(model, adapter)
    const head = headFrom === null ? undefined : await loadHeadAlone(model, headFrom, offline)
    const write = (text: string) => (output === undefined ? process.stdout.write(text) : output.write(text))
    const start = performance.now()
    const rows = await untilInterrupted((signal) => answerAll({ model, names, head, input, batchSize, write }, signal))
    if (rows === 'interrupted') return exitStatus.interrupted
    output?.finish()
    finished = true
    const seconds = (performance.now() - start) / 1000
    if (values.json && output !== undefined)
      printJson({ rows, seconds, output: values.output, adapters: names, head: head ?? null })
    else process.stderr.write(`${rows} rows in ${seconds.toFixed(1)} s\n`)
    return exitStatus.done
  } finally {
    if (!finished) output?.discard()
    model.dispose()
  }
}
