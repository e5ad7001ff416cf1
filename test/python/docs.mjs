// The pages' Python, run as it stands: node docs.mjs PYTHON MODELS. A folder of Node's goes in, Python loads and saves it, and
// the folder that comes out must answer the same in Node.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AutoModel } from '../../dist/lib/index.js'

const [python = '', models = ''] = process.argv.slice(2)
const repository = fileURLToPath(new URL('../../', import.meta.url))
const pages = ['README.md', ...readdirSync(join(repository, 'docs')).map((name) => join('docs', name))]
const blocks = pages.flatMap((page) => [
  ...readFileSync(join(repository, page), 'utf8').matchAll(/^```python\n(.*?)^```/gms)
])
if (blocks.length !== 1) throw new Error(`The pages have ${blocks.length} blocks of Python; this check is made for one`)
const code = blocks[0][1]

const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-docs-'))
const inputs = {
  inputIds: [
    [2, 5, 6, 3],
    [2, 7, 3]
  ]
}
const at = (path) => join(folder, path)

async function logits(model, name) {
  model.setActiveAdapters(name)
  return Array.from((await model.forward(inputs)).logits.data)
}

try {
  cpSync(join(models, 'bert-tiny'), at('bert-base-uncased'), { recursive: true })
  const model = await AutoModel.fromPretrained(at('bert-base-uncased'))
  model.addAdapter('topic', 'seq_bn[reduction_factor=4]')
  model.addClassificationHead('topic', { numLabels: 3 })
  await model.saveAdapter(at('out/topic'), 'topic')
  await model.saveAdapter(at('out/topic-bin'), 'topic', { format: 'bin' })

  const { status } = spawnSync(python, ['-c', code], { cwd: folder, stdio: 'inherit' })
  if (status !== 0) throw new Error("The pages' Python ended with an error")

  const before = await logits(model, 'topic')
  const after = await logits(model, await model.loadAdapter(at('topic-from-python'), { as: 'returned' }))
  const differing = before.filter((value, i) => value !== after[i]).length
  console.log(
    `${differing === 0 ? '✓' : '✗'} the pages' Python: ${differing} of ${before.length} logits differ after the way there and back`
  )
  if (differing > 0) process.exitCode = 1
  model.dispose()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
