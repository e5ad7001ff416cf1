// A Llama from Python to Node and back: its graph is exported once, LoRA learns in Node to tell WordNet's definitions
// of animals, plants, food, people and things apart, and Python's `peft` loads what was learned.
//   node examples/llama/run.mjs [--out FOLDER] [--archive llama.pt2] [--rows N]
// Python makes the archive, and is not needed where there is one.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AutoModel } from 'torch-adapters'
import { parseOptions } from '../../scripts/lib/options.mjs'
import { capture, root } from '../../scripts/lib/run.mjs'
import { main, Problem, step } from '../../scripts/lib/terminal.mjs'
import { randomSource, shuffle } from '../../scripts/quickstart/random.mjs'
import { readWordnet } from '../../scripts/quickstart/wordnet.mjs'
import { finetune } from './finetune.mjs'

const help = `A Llama from Python to Node and back: LoRA learns in Node to tell definitions apart, and Python's peft loads it.

  node examples/llama/run.mjs [--out FOLDER] [--archive llama.pt2] [--rows N]

  --out      where the archive, the adapter and the answers go (default: out/llama)
  --archive  an archive that is there, with its tokenizer inside (default: Python makes one)
  --rows     definitions to learn from (default: 3000)`

const kinds = ['animal', 'plant', 'food', 'person', 'artifact']
const percent = (share) => `${(100 * share).toFixed(1)} %`

/** Definitions with what they define. */
function rowsOf(synsets, split, count) {
  const all = synsets.filter((synset) => synset.split === split)
  const rows = all.map(({ definition, lexname }) => ({ text: definition, label: lexname.replace('noun.', '') }))
  return shuffle(
    rows.filter(({ label }) => kinds.includes(label)),
    randomSource(1)
  ).slice(0, count)
}

function findPython() {
  const own = join(root, '.venv', process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python')
  const given = process.env.TORCH_ADAPTERS_PYTHON
  const python = given ?? (existsSync(own) ? own : process.platform === 'win32' ? 'python' : 'python3')
  if (capture(python, ['-c', 'import torch, transformers; print(torch.__version__)'])) return python
  throw new Problem(
    `${python} has no torch and transformers, which the export needs, and nothing else here does. Install them with ` +
      '"python3 -m pip install torch transformers", name an interpreter that has them in TORCH_ADAPTERS_PYTHON, or let ' +
      'another machine make the archive and give it by --archive.'
  )
}

function runOrStop(command, args, env) {
  const { status } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } })
  if (status !== 0) throw new Problem(`"${args.slice(0, 3).join(' ')} …" ended with status ${status}; see above.`)
}

/** Weights of our own for transformers' architecture, and the graph of both. */
function makeArchive(synsets, out) {
  const python = findPython()
  const texts = join(out, 'definitions.txt')
  writeFileSync(
    texts,
    synsets
      .filter(({ split }) => split === 'train')
      .map(({ definition }) => `${definition}\n`)
      .join('')
  )
  const [model, archive] = [join(out, 'model'), join(out, 'llama.pt2')]
  runOrStop(python, [join(root, 'examples/llama/make_llama.py'), texts, join(root, 'models/wordnet-bert-mini'), model])
  runOrStop(process.execPath, [join(root, 'dist/lib/cli/export.js'), model, archive], { TORCH_ADAPTERS_PYTHON: python })
  return archive
}

/** An archive made elsewhere: the rows here are texts. */
async function checkGiven(archive) {
  if (!existsSync(archive)) throw new Problem(`There is no ${archive}.`)
  const model = await AutoModel.fromExported(archive).catch((error) => {
    throw new Problem(error.message)
  })
  const { tokenizer } = model
  model.dispose()
  if (tokenizer !== undefined) return
  throw new Problem(
    `${archive} has no tokenizer inside, and the rows here are texts. torch-adapters-export puts in the one that lies in ` +
      "the model's folder; finetune.mjs itself also takes rows of inputIds."
  )
}

await main(async () => {
  const config = {
    options: {
      out: { type: 'string', default: join(root, 'out/llama') },
      archive: { type: 'string' },
      rows: { type: 'string', default: '3000' },
      help: { type: 'boolean', default: false }
    }
  }
  const { values } = parseOptions(config, 'node examples/llama/run.mjs --help')
  if (values.help) return console.log(help)
  const { out } = values
  const count = Number(values.rows)
  if (!Number.isInteger(count) || count < 1) throw new Problem(`--rows takes a whole number, but got "${values.rows}".`)
  if (values.archive !== undefined) await checkGiven(values.archive)
  mkdirSync(out, { recursive: true })
  const synsets = readWordnet()
  const own = join(out, 'llama.pt2')
  const archive = values.archive ?? (existsSync(own) ? own : makeArchive(synsets, out))
  await step('LoRA in Node', async () => {
    const [train, test] = [rowsOf(synsets, 'train', count), rowsOf(synsets, 'test', 300)]
    const args = { numTrainEpochs: 2, warmupRatio: 0.1, seed: 1 }
    const { before, after, answers } = await finetune({ archive, labels: kinds, train, test, out, args })
    writeFileSync(join(out, 'answers.json'), JSON.stringify(answers, null, 2))
    return `${percent(before)} of ${test.length} definitions right at first, ${percent(after)} after ${train.length} others`
  })
  console.log(`For Python's peft: ${join(out, 'adapter')}`)
})
