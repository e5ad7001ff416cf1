// Node's half of the check of architectures that have no fixtures.
//   node exported_survey.mjs FOLDER      opens what exported_survey.py wrote there, and compares
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AdapterConfig, AutoModel } from '../../dist/lib/index.js'

const [folder] = process.argv.slice(2)
const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))

/** What each lacks, and the words that say so: all others answer as in Python and train every method below. */
const lacks = {
  fnet: { lora: /query/, prefix_tuning_flat: /takes no prefix/ },
  squeezebert: {
    seq_bn: /no layer was found/,
    lora: /no layer was found/,
    ia3: /no layer was found/,
    prefix_tuning_flat: /takes no prefix/
  },
  lfm2: { prefix_tuning_flat: /takes no prefix/ },
  xglm: { prefix_tuning_flat: /takes no prefix/ },
  convnext: { opening: /no value for each token or row/ },
  resnet: { opening: /no value for each token or row/ }
}

function compare(what, got, expected) {
  const scale = Math.max(1, ...expected.map(Math.abs))
  const away =
    got?.length === expected.length ? Math.max(...expected.map((value, i) => Math.abs(value - got[i]))) : Number.NaN
  if (!(away / scale < 1e-5)) throw new Error(`${what} is off by ${away}`)
}

async function trains(model, rows, method) {
  model.addAdapter(method, method, { seed: 1 })
  const [input] = Object.keys(rows)
  if (input === 'pixelValues') model.addImageClassificationHead(method, { numLabels: 2 })
  else model.addClassificationHead(method, { numLabels: 2 })
  model.trainAdapter(method)
  const { gradients } = await model.gradients({ ...rows, labels: [0, 1] })
  const own = [...gradients].filter(([name]) => !name.startsWith('heads.'))
  if (!own.some(([, { data }]) => data.some((value) => value !== 0))) throw new Error(`${method} learns nothing`)
  if (!own.every(([, { data }]) => data.every(Number.isFinite)))
    throw new Error(`${method} has gradients without bound`)
}

/** Whether it goes, or fails as it is known to. */
async function works(what, expected, run) {
  try {
    await run()
  } catch (error) {
    if (expected?.test(error.message)) return false
    throw new Error(`${what}: ${error.message}`)
  }
  if (expected !== undefined) throw new Error(`${what} works now; say so here`)
  return true
}

for (const [name, one] of Object.entries(cases)) {
  const known = lacks[name] ?? {}
  const rows = Object.fromEntries(
    Object.entries(one.rows).map(([input, values]) => [
      input.replace(/_(.)/, (_, letter) => letter.toUpperCase()),
      input === 'input_ids' ? values : values.map((row) => Float32Array.from(row))
    ])
  )
  let model
  const [output] = one.outputs
  const opens = await works(name, known.opening, async () => {
    model = await AutoModel.fromExported(join(folder, `${name}.pt2`), { output })
  })
  if (!opens) continue
  compare(name, (await model.forward(rows, { head: null })).lastHiddenState?.data, one.states)
  const { lora } = one
  if (lora !== undefined) {
    model.addAdapter('x', AdapterConfig.load('lora', { r: lora.r, alpha: lora.alpha, targetModules: [lora.path] }))
    const own = model.namedParameters().filter(({ name: path }) => path.includes('.loras.x.'))
    model.loadStateDict(
      new Map(
        own.map(({ name: path, shape }) => [path, { shape, data: Float32Array.from(lora[path.split('.').at(-1)]) }])
      )
    )
    const { lastHiddenState } = await model.forward(rows, { adapters: 'x', head: null })
    compare(`${name} with LoRA at ${lora.path}`, lastHiddenState?.data, lora.states)
  }
  const methods = []
  for (const method of ['seq_bn', 'lora', 'ia3', 'prefix_tuning_flat'])
    if (await works(`${name}, ${method}`, known[method], () => trains(model, rows, method))) methods.push(method)
  console.log(
    `${model.config.exported.className} answers as in Python, and trains ${methods.join(', ') || 'LoRA by name alone'}`
  )
  model.dispose()
}
