import { adapterNames, type Composition, formatComposition } from '../config/composition.js'
import { placeOf, type Row } from '../data/dataset.js'
import { defaultHead } from '../exchange/static-heads.js'
import type { Model } from '../model/model.js'
import type { Prediction } from '../model/predict.js'
import { adapterUsage, findAdapters } from './adapters.js'
import { answerRows } from './answer-rows.js'
import { countOption, exitStatus, inputRows, parseCommand, required, standardInput, usageError } from './arguments.js'
import { expectOwnHead, requireOwnHead } from './head-of-model.js'
import {
  headSource,
  headUsage,
  loadHeadAlone,
  loadModel,
  loadNamed,
  loadWithHead,
  modelOptions,
  modelUsage,
  problemOption,
  problemUsage
} from './model-options.js'
import { checkOutputFile } from './output.js'
import { answersItself } from './own-head.js'
import { type Heads, idOf, namesAdapter, refuseAdapter, setupOf } from './row-adapter.js'
import { rowsUsage } from './rows.js'
import { answererOf, checkBeside, loadSetup, setupSource } from './setup.js'

export const summary = 'answer rows of text or ids with an adapter, a head or a fine-tuned model'

const usage = `Usage: torch-adapters predict --model MODEL [--adapter ADAPTER... | --head HEAD] --input FILE [OPTIONS]

Answers every row with a JSON object on a line, in the order of the rows: "logits", and by the kind of the head
"label", "label_id" and "score", or "labels" and "scores", or "answer", "start", "end" and "score", or "tokens". Those
of a row of words are its words, each with its label, or null where the row was too long for it; of other rows all
tokens, special ones included. A language head's labels are tokens, as the vocabulary has them. An "id" comes back.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted.

  --model MODEL           folder or hub id of the base model, or an archive of torch.export (.pt2)
${adapterUsage}
${problemUsage}
${headUsage}
  --setup SETUP           for all rows: what a folder holds that saveAdapterSetup or fuse wrote; or a composition of what
                          --adapter loads, such as 'Stack[de, ner]', or as JSON, such as
                          '{"type": "Split", "children": ["a", "b"], "splits": [16, 48]}'. With Parallel there is an
                          answer for each child, whose "adapter" says of which. A row's own "adapter" may be such a
                          composition, too, in text or JSON; of Parallel its answer then has "branches"
  --input FILE            rows as JSONL, CSV, TSV or Parquet: text, text_pair, words, input_ids, question and context,
                          or choices; -: JSONL from standard input
  --output FILE           where the answers go, a JSON object a line. Default: standard output
  --batch-size N          rows in one pass. Default 32
${modelUsage}
  --json                  with --output: one JSON object about the run on standard output
  --help                  this text
${rowsUsage}
`

/** Rows in memory at a time, in batches. */
const batchesAtOnce = 32

/** Token heads answer with a list for each token. */
function withId(answer: Prediction, row: Row | undefined): object {
  const { tokens, logits } = answer
  const width = tokens === undefined || tokens.length === 0 ? 0 : logits.length / tokens.length
  // Of a parse each word has scores for all heads.
  if (tokens?.some((token) => 'head' in token)) return { ...idOf(row), ...answer }
  const rows = tokens?.map((_, i) => logits.subarray(i * width, (i + 1) * width))
  return { ...idOf(row), ...answer, logits: rows ?? logits }
}

/** A row's own Parallel answers once for each child, and each says of which. */
function withBranches(answer: Prediction, setup: Composition, row: Row | undefined): object {
  const { branches } = answer
  if (branches === undefined) return withId(answer, row)
  const each = branches.map((one, i) => ({ ...answererOf(setup, branches.length, i), ...withId(one, undefined) }))
  return { ...idOf(row), branches: each }
}

/** Each row's answers together: with Parallel one of each child. */
function byRow(answers: readonly Prediction[], rows: readonly Row[], composition: Composition): object[] {
  const copies = answers.length / rows.length
  return rows.flatMap((row, i) =>
    Array.from({ length: copies }, (_, copy) => {
      const answer = answers[copy * rows.length + i] as Prediction
      return { ...answererOf(composition, copies, copy), ...withId(answer, row) }
    })
  )
}

/** The head of the network's class answers rows whose adapter has none, whatever heads came with other adapters. */
function standBehind(model: Model): void {
  if (answersItself(model)) model.activeHead = defaultHead
}

export async function run(argv: string[]): Promise<number> {
  const { values } = parseCommand(argv, {
    ...modelOptions,
    adapter: { type: 'string', short: 'a', multiple: true },
    input: { type: 'string', short: 'i' },
    output: { type: 'string', short: 'o' },
    head: { type: 'string' },
    setup: { type: 'string' },
    'problem-type': { type: 'string' },
    'batch-size': { type: 'string', default: '32' }
  })
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  const sources = values.adapter ?? []
  const given = required('model', values.model)
  const setup = values.setup === undefined ? undefined : await setupSource(values.setup)
  if (setup !== undefined) checkBeside(setup, sources, values.head)
  const headFrom = setup === undefined ? headSource(sources, values.head, given) : 'adapters'
  const input = inputRows('input', required('input', values.input))
  const batchSize = countOption('batch-size', values['batch-size']) ?? 32
  if (values.output !== undefined) {
    checkOutputFile('output', values.output, input === standardInput ? {} : { input })
    if (/\.(csv|tsv|parquet)$/i.test(values.output))
      throw usageError(`--output: answers are a JSON object a line; call the file .jsonl, got ${values.output}`)
  }
  const offline = values.offline || undefined
  const adapters = await findAdapters(sources, offline)
  const problem = await problemOption(values['problem-type'], adapters)
  const names = adapters.map(({ name }) => name)
  if (headFrom === 'model') await expectOwnHead(given, offline)
  const model = await loadModel(values)
  try {
    const { output, json } = values
    const file = { input, output, json, atOnce: batchSize * batchesAtOnce }
    if (headFrom === 'model') requireOwnHead(model)
    const answerEach = async (rows: readonly Row[], heads: Heads, head: string | undefined, signal: AbortSignal) => {
      const known = { names, loaded: [...model.adapters.keys()] }
      const own = rows.map((row) => setupOf(row, known, heads, placeOf(row, input)))
      const answers = await model.predict(rows, { adapters: own, head, batchSize, signal })
      return answers.map((answer, i) => withBranches(answer, own[i] ?? null, rows[i]))
    }
    if (setup !== undefined || headFrom === 'model') {
      // What the model came with is active as it is, and so are its heads; what is loaded becomes so.
      const own = { composition: model.activeAdapters, head: model.activeHead ?? undefined }
      const { composition, head } = setup === undefined ? own : await loadSetup(model, setup, adapters, problem)
      if (setup !== undefined) standBehind(model)
      const facts = {
        adapters: adapterNames(composition),
        ...(composition !== null && { setup: formatComposition(composition) }),
        head: head ?? null
      }
      return await answerRows({ ...file, facts }, async (rows, signal) => {
        if (setup !== undefined) for (const row of rows) refuseAdapter(row, placeOf(row, input))
        // Above an adapter that has none the head that is active answers, unless it is another adapter's own.
        const isOfAll = answersItself(model) || (head !== undefined && !model.adapters.has(head))
        const heads = { has: (name: string) => isOfAll || model.heads.has(name) }
        const [named, others] = [rows.filter(namesAdapter), rows.filter((row) => !namesAdapter(row))]
        const ofNamed = named.length === 0 ? [] : await answerEach(named, heads, undefined, signal)
        const answers = await model.predict(others, { batchSize, signal })
        const ofOthers = byRow(answers, others, composition)
        // Of a row that names none there may be an answer for each child of Parallel.
        const each = ofOthers.length / others.length
        return rows.flatMap((row) => (namesAdapter(row) ? ofNamed.splice(0, 1) : ofOthers.splice(0, each)))
      })
    }
    const [only] = adapters
    if (headFrom === 'adapters' && adapters.length === 1 && only !== undefined) await loadWithHead(model, only, problem)
    // One that stands below another in a row's block, or below a --head, needs none.
    else for (const adapter of adapters) await loadNamed(model, adapter, problem)
    const head = headFrom === 'adapters' ? undefined : await loadHeadAlone(model, headFrom.folder, offline)
    if (head === undefined) standBehind(model)
    const facts = { adapters: names, head: head ?? null }
    // A head for all answers whichever adapter a row names.
    const heads = head === undefined && !answersItself(model) ? model.heads : model.adapters
    return await answerRows({ ...file, facts }, (rows, signal) => answerEach(rows, heads, head, signal))
  } finally {
    model.dispose()
  }
}
