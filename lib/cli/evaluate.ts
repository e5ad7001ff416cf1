import { exitStatus, inputFile, numberOption, parseCommand, required } from './arguments.js'
import {
  headSource,
  headUsage,
  loadModel,
  loadWithHead,
  modelOptions,
  modelUsage,
  untilInterrupted
} from './model-options.js'
import { printJson } from './output.js'

export const summary = 'measure an adapter, a head or a fine-tuned model on labelled rows'

const usage = `Usage: torch-adapters evaluate --model MODEL [--adapter ADAPTER | --head HEAD] --data FILE [OPTIONS]

Prints the loss and, by the kind of the head, accuracy, macro-F1, Matthews' or Pearson's correlation, or the
mean squared error.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted.

  --model MODEL           folder or hub id of the base model
  --adapter ADAPTER       folder or hub id of an adapter with its head
${headUsage}
  --data FILE             rows as JSONL, CSV or TSV: text, text_pair or input_ids, and label
  --batch-size N          rows in one pass. Default 32
${modelUsage}
  --json                  one JSON object
  --help                  this text
`

export async function run(argv: string[]): Promise<number> {
  const { values } = parseCommand(argv, {
    ...modelOptions,
    adapter: { type: 'string', short: 'a' },
    head: { type: 'string' },
    data: { type: 'string', short: 'd' },
    'batch-size': { type: 'string' }
  })
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  const { adapter } = values
  const source = headSource(adapter === undefined ? [] : [adapter], values.head, required('model', values.model))
  const data = inputFile('data', required('data', values.data))
  const batchSize = numberOption('batch-size', values['batch-size'])
  const model = await loadModel(values)
  try {
    const name = source === null ? await loadWithHead(model, adapter as string) : await model.loadHead(source)
    model.setActiveAdapters(source === null ? name : null)
    model.activeHead = name
    const { readRows } = await import('../data/read-rows.js')
    const { evaluate } = await import('../training/evaluate.js')
    const result = await untilInterrupted((signal) => evaluate(model, readRows(data), { batchSize, signal }))
    if (result === 'interrupted') return exitStatus.interrupted
    if (values.json) {
      printJson({ adapter: source === null ? name : null, head: name, ...result })
    } else {
      const { loss, metrics, rows, seconds } = result
      const lines = Object.entries({ loss, ...metrics }).map(([key, value]) => `${key.padEnd(10)} ${value.toFixed(4)}`)
      process.stdout.write(`${lines.join('\n')}\n${rows} rows in ${seconds.toFixed(1)} s\n`)
    }
    return exitStatus.done
  } finally {
    model.dispose()
  }
}
