// The main job, end to end, on real text: read, train an adapter, compare, save, load back, answer, draw.
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AutoModel } from '../../dist/lib/index.js'
import { makeFolder } from '../../dist/lib/native/make-folder.js'
import { reportHtml } from '../../dist/lib/training/report.js'
import { Problem, step } from '../lib/terminal.mjs'
import { BagOfWords } from './bag-of-words.mjs'
import { adapterName, encodeTask, test, train, wayTitles } from './contenders.mjs'
import { majority, measure, measureTags } from './measures.mjs'
import { shown } from './options.mjs'
import { answersOf } from './questions.mjs'
import { table } from './table.mjs'
import { partsOf, taskBuilders } from './tasks.mjs'
import { userTask } from './user-data.mjs'
import { readWordnet } from './wordnet.mjs'

/** @typedef {import('./options.mjs').Options} Options */
/** @typedef {import('./tasks.mjs').RowTask} RowTask */
/** @typedef {import('./tasks.mjs').TagTask} TagTask */
/** @typedef {import('./contenders.mjs').Way} Way */
/** @typedef {import('./contenders.mjs').Trained} Trained */
/** @typedef {import('./measures.mjs').Measures} Measures */
/** @typedef {{ name: string, measures: Measures, parameters?: number, ofEncoder?: boolean, seconds?: number, bytes?: number }} Line */

/** @param {Options} options @returns {Promise<RowTask | TagTask>} */
async function readTask({ task, data }) {
  /** @type {RowTask | TagTask | undefined} */
  let read
  await step(data === undefined ? 'reading WordNet 3.1' : `reading ${data}`, async () => {
    read = data === undefined ? taskBuilders[task](readWordnet()) : userTask(data)
    return data === undefined ? `${read.title}: ${partsOf(read)}` : partsOf(read)
  })
  return /** @type {RowTask | TagTask} */ (read)
}

/** What needs no encoder. @param {RowTask | TagTask} task @param {number} rows @returns {Promise<Line[]>} */
async function simpleLines(task, rows) {
  if (task.kind === 'tagging') {
    // The longest word of an example is its likeliest lemma.
    const longest = task.test.map(({ words }) => {
      const at = words.findIndex((word) => word.length === Math.max(...words.map(({ length }) => length)))
      return words.map((_, i) => Number(i === at))
    })
    const truth = task.test.map(({ tags }) => tags)
    return [{ name: 'longest word', measures: measureTags(longest, truth) }]
  }
  const labels = task.labels.length
  const truth = task.test.map(({ label }) => label)
  const train = task.train.slice(0, rows)
  const common = majority(
    train.map(({ label }) => label),
    labels
  )
  const bag = new BagOfWords(labels)
  const start = performance.now()
  await step('training: bag of words', async () => {
    bag.train(train)
    return `${bag.parameters.toLocaleString('en')} weights`
  })
  return [
    {
      name: 'majority class',
      measures: measure(
        truth.map(() => common),
        truth,
        labels
      )
    },
    {
      name: 'bag of words',
      measures: measure(bag.predict(task.test), truth, labels),
      parameters: bag.parameters,
      seconds: (performance.now() - start) / 1000
    }
  ]
}

/** @param {string} folder */
function sizeOf(folder) {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
}

/** @param {Line[]} lines @param {number} encoderSize @param {boolean} tagging */
function tableOf(lines, encoderSize, tagging) {
  const optional = (/** @type {number | undefined} */ value, /** @type {(value: number) => string} */ format) =>
    value === undefined ? '' : format(value)
  const measured = tagging ? ['rows right', 'F1'] : ['accuracy', 'macro-F1']
  const rows = lines.map(({ name, measures, parameters, ofEncoder, seconds, bytes }) => [
    name,
    measures.accuracy.toFixed(4),
    measures.macroF1.toFixed(4),
    optional(parameters, (count) => count.toLocaleString('en')),
    ofEncoder === true ? optional(parameters, (count) => `${((100 * count) / encoderSize).toFixed(1)} %`) : '',
    optional(seconds, (time) => time.toFixed(1)),
    optional(bytes, (size) => `${(size / 1e6).toFixed(2)} MB`)
  ])
  return { head: ['on test', ...measured, 'trained', 'of encoder', 'seconds', 'file'], rows }
}

/** @param {Options} options @param {Way} way */
async function encoder({ model, seed }, way) {
  const pretrained = await AutoModel.fromPretrained(model, { seed })
  if (way !== 'random') return pretrained
  const { config, tokenizer } = pretrained
  pretrained.dispose()
  return AutoModel.fromConfig(config, { seed, tokenizer })
}

/**
 * Saves, loads into a fresh encoder, and compares every logit of some rows.
 * @param {Trained} trained
 * @param {Options} options
 * @param {import('./encode.mjs').Encoded[]} rows
 */
async function saveAndLoad({ model }, options, rows) {
  const folder = join(options.out, 'adapter')
  rmSync(folder, { recursive: true, force: true })
  let fresh = model
  await step('saving and loading back', async () => {
    await model.saveAdapter(folder, adapterName)
    fresh = await encoder(options, 'adapter')
    const name = await fresh.loadAdapter(folder)
    fresh.setActiveAdapters(name)
    fresh.activeHead = name
    const inputs = { inputIds: rows.map((row) => row.inputIds), tokenTypeIds: rows.map((row) => row.tokenTypeIds) }
    const [before, after] = [await model.forward(inputs), await fresh.forward(inputs)].map(({ logits }) => logits?.data)
    if (before === undefined || after === undefined) throw new Error('The model gave no logits.')
    const differing = before.filter((logit, i) => !Object.is(logit, after[i])).length
    if (differing > 0) throw new Error(`${differing} of ${before.length} logits differ after loading back.`)
    return `${shown(folder)}, all ${before.length} logits of ${rows.length} rows are the same`
  })
  return { folder, fresh }
}

const adapterFiles = ['adapter.safetensors', 'adapter_config.json', 'head_config.json', 'model_head.safetensors']

/**
 * What a quickstart wrote there is written anew, and nothing else.
 * @param {string} out
 */
export function refuseForeign(out) {
  const folder = join(out, 'adapter')
  const found = existsSync(folder) ? readdirSync(folder).filter((file) => !adapterFiles.includes(file)) : []
  if (found.length === 0) return
  throw new Problem(`--out: ${folder} holds ${found[0]}, which no quickstart wrote. Name another folder.`)
}

/** @param {Options} options */
export async function quickstart(options) {
  refuseForeign(options.out)
  try {
    makeFolder(options.out)
  } catch (error) {
    throw new Problem(`--out: ${/** @type {Error} */ (error).message}. Name a folder that can be written.`)
  }
  const task = await readTask(options)
  // Before anything trains: what is wrong with --model shows at once.
  const first = await encoder(options, 'adapter')
  const encoderSize = first.namedParameters().reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
  if (first.tokenizer === undefined) {
    first.dispose()
    throw new Problem(
      `--model: ${options.model} has no tokenizer, and the rows here are text. ` +
        'Put its tokenizer.json or vocab.txt beside its config.json, or name another encoder.'
    )
  }
  const lines = await simpleLines(task, options.rows)
  /** @type {ReturnType<typeof encodeTask>} */
  let data = { train: [], dev: [], test: [] }
  await step('tokenizing', async () => {
    data = encodeTask(task, first, options.rows)
    const tokens = data.train.reduce((sum, { inputIds }) => sum + inputIds.length, 0)
    return `${tokens.toLocaleString('en')} tokens to train on`
  })
  first.dispose()

  /** @type {Way[]} */
  const ways = options.compare ? ['head', 'adapter', 'full', 'random'] : ['head', 'adapter']
  const runs = []
  let answering = first
  for (const way of ways) {
    const trained = await train(await encoder(options, way), way, task, data, options)
    const { model, parameters, seconds, curves } = trained
    const measures = await test(model, task, data)
    const line = { name: wayTitles[way], measures, parameters, ofEncoder: true, seconds }
    runs.push(curves)
    if (way === 'adapter') {
      const { folder, fresh } = await saveAndLoad(trained, options, data.test.slice(0, 200))
      answering = fresh
      lines.push({ ...line, bytes: sizeOf(folder) })
    } else lines.push(line)
    model.dispose()
  }

  const results = tableOf(lines, encoderSize, task.kind === 'tagging')
  console.log(`\n${table(results.head, results.rows)}\n`)
  const tested = data.test.length
  if (tested < 50)
    console.log(`${tested === 1 ? 'One row is' : `${tested} rows are`} few for a test: give more of them.\n`)
  for (const line of await answersOf(answering, task)) console.log(line)
  const picture = join(options.out, `${task.name}.html`)
  const text = `${data.train.length} rows for training, ${data.test.length} for the test; seed ${options.seed}.`
  writeFileSync(picture, reportHtml({ title: task.title, text, runs, table: results }))
  console.log(`\nLearning curves: ${shown(picture)}`)
  answering.dispose()
}
