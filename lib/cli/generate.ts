import { placeOf, type Row } from '../data/dataset.js'
import type { GenerateOptions } from '../model/generation-plan.js'
import type { Model } from '../model/model.js'
import { adapterUsage, findAdapters } from './adapters.js'
import { answerRows } from './answer-rows.js'
import {
  countOption,
  exitStatus,
  fromOptions,
  inputRows,
  numberOption,
  parseCommand,
  required,
  standardInput,
  usageError
} from './arguments.js'
import { loadModel, modelOptions, modelUsage } from './model-options.js'
import { checkOutputFile } from './output.js'
import { adapterOf, idOf } from './row-adapter.js'
import { rowsUsage } from './rows.js'

export const summary = 'go on writing after rows of text or ids, with GPT-2 and adapters'

const usage = `Usage: torch-adapters generate --model MODEL [--adapter ADAPTER...] --input FILE [OPTIONS]

Writes on after every row, with a JSON object on a line for each, in the order of the rows: "ids", the new tokens, and
"text" where the model has a tokenizer. An "id" comes back. A row is written with the causal_lm head of its adapter, or
without one by the model's own words.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted (between two tokens).

  --model MODEL           folder or hub id of the base model: one that writes, such as gpt2
${adapterUsage}
  --input FILE            rows as JSONL, CSV, TSV or Parquet: text, words or input_ids; -: JSONL from standard input
  --output FILE           where the answers go. Default: standard output
  --max-new-tokens N      Default 20
  --do-sample             draw the next token instead of taking the likeliest
  --temperature T         logits are divided by it before a draw. Default 1
  --top-k N               only the likeliest so many are drawn from; 0: all. Default 50
  --top-p P               of these, the fewest that hold this much of the probability. Default 1
  --eos-token-id ID       a token that ends a row, or none. Default: what the model's config says
  --seed N                of the draws. Default 42
  --batch-size N          rows at a time. Default 32
  --stream                a line for each token as soon as it is there, and none for each row: "row", counted from 0,
                          "token", the "text" that it adds, and "done" with the row's last
${modelUsage}
  --json                  with --output: one JSON object about the run on standard output
  --help                  this text
${rowsUsage}
`

interface Call {
  readonly rows: readonly Row[]
  /** Which of the file's rows at hand they are. */
  readonly places: readonly number[]
  readonly options: GenerateOptions
}

/** Rows of one adapter are one call: its head writes for all of them. */
function callsOf(model: Model, rows: readonly Row[], names: readonly string[], input: string): Call[] {
  const known = { names, loaded: [...model.adapters.keys()] }
  const adapters = rows.map((row) => adapterOf(row, known, placeOf(row, input)))
  return [...new Set(adapters)].map((adapter) => {
    const places = [...rows.keys()].filter((i) => adapters[i] === adapter)
    const head = adapter !== null && model.heads.get(adapter)?.headType === 'causal_lm' ? adapter : null
    return { places, rows: places.map((i) => rows[i] as Row), options: { adapters: adapter, head } }
  })
}

/** `first`: the number of the first row in its file, as below. */
async function writeOn(model: Model, calls: readonly Call[], first: number, how: GenerateOptions): Promise<object[]> {
  const answers: object[] = []
  for (const { rows, places, options } of calls) {
    const rowNumbers = places.map((place) => first + place)
    const written = await model.generate(rows, { ...how, ...options, rowNumbers })
    for (const [at, place] of places.entries()) answers[place] = { ...idOf(rows[at]), ...written[at] }
  }
  return answers
}

/** A line for each token as it comes. */
async function* writeTokens(calls: readonly Call[], model: Model, first: number, how: GenerateOptions) {
  for (const { rows, places, options } of calls) {
    const rowNumbers = places.map((place) => first + place)
    for await (const { row, ...token } of model.generateStream(rows, { ...how, ...options, rowNumbers })) {
      yield { ...idOf(rows[row]), row: rowNumbers[row] ?? 0, ...token }
    }
  }
}

function endToken(text: string | undefined): number | null | undefined {
  if (text === undefined || text === 'none') return text === undefined ? undefined : null
  const id = Number(text)
  if (text.trim() !== '' && Number.isSafeInteger(id)) return id
  throw usageError(`--eos-token-id: expected a token's id or 'none', got '${text}'`)
}

export async function run(argv: string[]): Promise<number> {
  const { values } = parseCommand(argv, {
    ...modelOptions,
    adapter: { type: 'string', short: 'a', multiple: true },
    input: { type: 'string', short: 'i' },
    output: { type: 'string', short: 'o' },
    'max-new-tokens': { type: 'string' },
    'do-sample': { type: 'boolean', default: false },
    temperature: { type: 'string' },
    'top-k': { type: 'string' },
    'top-p': { type: 'string' },
    'eos-token-id': { type: 'string' },
    seed: { type: 'string' },
    stream: { type: 'boolean', default: false },
    'batch-size': { type: 'string', default: '32' }
  })
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  required('model', values.model)
  const input = inputRows('input', required('input', values.input))
  const batchSize = countOption('batch-size', values['batch-size']) ?? 32
  const how: GenerateOptions = {
    maxNewTokens: countOption('max-new-tokens', values['max-new-tokens']),
    doSample: values['do-sample'],
    temperature: numberOption('temperature', values.temperature),
    topK: numberOption('top-k', values['top-k']),
    topP: numberOption('top-p', values['top-p']),
    eosTokenId: endToken(values['eos-token-id']),
    seed: numberOption('seed', values.seed)
  }
  const { checkGenerate } = await import('../model/generation-plan.js')
  fromOptions(() => checkGenerate(how))
  if (values.output !== undefined) checkOutputFile('output', values.output, input === standardInput ? {} : { input })
  const adapters = await findAdapters(values.adapter ?? [], values.offline || undefined)
  const names = adapters.map(({ name }) => name)
  const model = await loadModel(values)
  try {
    for (const { folder, name } of adapters) await model.loadAdapter(folder, { as: name })
    const { output, json } = values
    const file = { input, output, json, atOnce: batchSize, facts: { adapters: names } }
    return await answerRows(file, (rows, signal, first) => {
      const calls = callsOf(model, rows, names, input)
      const until = { ...how, signal }
      return values.stream ? writeTokens(calls, model, first, until) : writeOn(model, calls, first, until)
    })
  } finally {
    model.dispose()
  }
}
