// The pretraining's command line.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseOptions } from '../lib/options.mjs'
import { Problem } from '../lib/terminal.mjs'

const repository = fileURLToPath(new URL('../../', import.meta.url))

const usage = `node scripts/pretrain/pretrain.mjs [options]

Pretrains the quickstart's encoder on WordNet's definitions. A run that was stopped goes on from its last checkpoint.

  --model FOLDER           config and tokenizer of the encoder; its weights are written there
                           (default: models/wordnet-bert-mini)
  --out FOLDER             checkpoint and curve.csv (default: out/pretrain)
  --tokens N               to train on in all (default: 150e6)
  --batch-tokens N         in a step (default: 2048)
  --learning-rate X        (default: 2e-3)
  --mask-share X           of the tokens, hidden (default: 0.2)
  --checkpoint-minutes X   (default: 10)
  --dev-steps N            steps between two lines of the curve (default: 1000)
  --threads N
  --seed N                 (default: 1)
  --help
`

/** @typedef {'tokens' | 'batch-tokens' | 'learning-rate' | 'mask-share' | 'checkpoint-minutes' | 'dev-steps' | 'threads' | 'seed'} NumberName */
/** @typedef {{ model: string, out: string } & Record<NumberName, number>} Options */

/** @param {string[]} args @returns {Options | string} the text to print when that is all that is asked for */
export function readOptions(args) {
  const text = /** @type {const} */ ('string')
  const { values } = parseOptions(
    {
      args,
      options: {
        model: { type: text, default: join(repository, 'models', 'wordnet-bert-mini') },
        out: { type: text, default: join(repository, 'out', 'pretrain') },
        tokens: { type: text, default: '150e6' },
        'batch-tokens': { type: text, default: '2048' },
        'learning-rate': { type: text, default: '2e-3' },
        'mask-share': { type: text, default: '0.2' },
        'checkpoint-minutes': { type: text, default: '10' },
        'dev-steps': { type: text, default: '1000' },
        threads: { type: text },
        seed: { type: text, default: '1' },
        help: { type: 'boolean', default: false }
      }
    },
    '--help'
  )
  const { help, model, out, ...numbers } = values
  if (help) return usage
  for (const [name, value] of Object.entries(numbers)) {
    if (!(Number(value) > 0)) throw new Problem(`--${name}: expected a number above 0, got ${value}.`)
  }
  const read = Object.entries(numbers).map(([name, value]) => [name, Number(value)])
  return { model, out, .../** @type {Record<NumberName, number>} */ (Object.fromEntries(read)) }
}
