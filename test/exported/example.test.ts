import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { scratch } from '../model/support.js'
import { ExportedGroup } from '../parity/support/exported.js'
import { startProcess } from '../support/process.js'

interface Outcome {
  readonly before: number
  readonly after: number
  readonly loss: number
  readonly answers: readonly { readonly inputIds: number[]; readonly logits: number[] }[]
}

// The example's own program, on the smallest Llama there is. With text, and in Python: npm run test:python.
test('examples/llama trains LoRA on an exported Llama and saves it for PEFT', async (t) => {
  const { finetune } = await import(pathToFileURL(join(process.cwd(), 'examples/llama/finetune.mjs')).href)
  const { archive } = await ExportedGroup.read('llama')
  const out = scratch(t)
  const labels = ['low', 'high']
  // What a row begins with is its label.
  const rows = Array.from({ length: 96 }, (_, i) => {
    const inputIds = Array.from({ length: 3 + (i % 4) }, (_, j) => (i % 2 === 0 ? 3 : 20) + ((7 * i + 5 * j) % 12))
    return { inputIds, label: labels[i % 2] }
  })
  const outcome: Outcome = await finetune({
    ...{ archive, labels, out, train: rows.slice(0, 64), test: rows.slice(64) },
    args: { numTrainEpochs: 12, perDeviceTrainBatchSize: 8, learningRate: 1e-2, seed: 1, loggingStrategy: 'no' }
  })
  t.true(outcome.after > 0.9 && outcome.after > outcome.before, JSON.stringify([outcome.before, outcome.after]))

  const config = JSON.parse(readFileSync(join(out, 'adapter', 'adapter_config.json'), 'utf8'))
  t.is(config.peft_type, 'LORA')
  t.deepEqual([...config.target_modules].sort(), ['down_proj', 'q_proj', 'v_proj'])
  const model = await AutoModel.fromExported(archive)
  t.teardown(() => model.dispose())
  await model.loadAdapter(join(out, 'adapter'), { as: 'again' })
  await model.loadHead(join(out, 'head'), { as: 'again' })
  const answers = await model.predict(
    outcome.answers.map(({ inputIds }) => ({ inputIds })),
    { adapters: 'again', head: 'again' }
  )
  t.is(answers.length, 4)
  answers.forEach((answer, i) => {
    t.deepEqual([...(answer as { logits: Float32Array }).logits], outcome.answers[i]?.logits)
  })
})

test('examples/llama says in a paragraph what an archive of others lacks', async (t) => {
  const { archive } = await ExportedGroup.read('llama')
  for (const [given, message] of [
    [archive, /llama\.pt2 has no tokenizer inside/],
    [join(scratch(t), 'none.pt2'), /There is no .*none\.pt2/]
  ] as const) {
    const args = ['examples/llama/run.mjs', '--archive', given, '--out', scratch(t)]
    const { code, stderr } = await startProcess(process.execPath, args).ended
    t.is(code, 1)
    t.regex(stderr.replaceAll('\n', ' '), message)
    t.notRegex(stderr, /\n {4}at /)
  }
})
