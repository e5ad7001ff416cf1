// The quickstart's command line.
import { existsSync, statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseOptions } from '../lib/options.mjs'
import { Problem } from '../lib/terminal.mjs'
import { taskBuilders } from './tasks.mjs'

const usage = `npm run quickstart -- [options]

Trains a bottleneck adapter on real English and compares it with what is simpler.

  --task NAME      lexname: definition → one of 45 classes (default)
                   hypernym: is the second definition the meaning right above the first?
                   lemma: which words of an example carry the definition?
  --data FILE      your own rows instead: {"text": …, "textPair": …, "label": …}, one JSON object a line
  --model SOURCE   another encoder: a folder or a Hugging Face id
  --compare        also full fine-tuning, and the same adapter on random weights
  --rows N         only so many training rows
  --out FOLDER     where the adapter and the picture go (default: out/quickstart)
  --seed N         (default: 1)
  --help
`

/**
 * @typedef {object} Options
 * @property {'lexname' | 'hypernym' | 'lemma'} task
 * @property {string | undefined} data
 * @property {string} model
 * @property {boolean} compare
 * @property {number} rows
 * @property {string} out
 * @property {number} seed
 */

/** @param {string} path */
const inRepository = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

/** npm runs scripts in the clone's folder; paths are meant from where it was called. @param {string} path */
const fromCaller = (path) => resolve(process.env.INIT_CWD ?? '.', path)

/** As it is named from there. @param {string} path */
export const shown = (path) => relative(process.env.INIT_CWD ?? '.', path)

/** A folder, or what is no path, such as a hub id. @param {string} source */
const folderOrId = (source) => (existsSync(fromCaller(source)) ? fromCaller(source) : source)

/** @param {string} name @param {string} value */
function count(name, value) {
  const number = Number(value)
  if (!Number.isInteger(number) || number < 1)
    throw new Problem(`--${name}: expected a whole number from 1, got '${value}'.`)
  return number
}

/** @param {string[]} args @returns {Options | string} the text to print when that is all that is asked for */
export function readOptions(args) {
  const { values } = parseOptions(
    {
      args,
      options: {
        task: { type: 'string' },
        data: { type: 'string' },
        model: { type: 'string', default: inRepository('models/wordnet-bert-mini') },
        compare: { type: 'boolean', default: false },
        rows: { type: 'string' },
        out: { type: 'string', default: inRepository('out/quickstart') },
        seed: { type: 'string', default: '1' },
        help: { type: 'boolean', default: false }
      }
    },
    'npm run quickstart -- --help'
  )
  if (values.help) return usage
  if (values.data !== undefined && values.task !== undefined) {
    throw new Problem('--data: your own rows are a task of their own; leave --task out.')
  }
  if (values.model === '') throw new Problem("--model: expected a folder or a Hugging Face id, got ''.")
  const { task = 'lexname' } = values
  if (!Object.hasOwn(taskBuilders, task)) {
    throw new Problem(`--task: expected one of ${Object.keys(taskBuilders).join(', ')}, got '${task}'.`)
  }
  return {
    task: /** @type {Options['task']} */ (task),
    data: values.data === undefined ? undefined : fromCaller(values.data),
    model: folderOrId(values.model),
    compare: values.compare,
    rows: values.rows === undefined ? Number.POSITIVE_INFINITY : count('rows', values.rows),
    out: fromCaller(values.out),
    seed: count('seed', values.seed)
  }
}

/**
 * Before the set-up, which takes minutes on a fresh clone.
 * @param {Options} options
 */
export function checkPaths({ data }) {
  if (data === undefined || statSync(data, { throwIfNoEntry: false })?.isFile() === true) return
  throw new Problem(`--data: expected a file of rows, got ${data}, which is no file. Check the path.`)
}
