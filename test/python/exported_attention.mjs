// Node's half of the check of attention that networks write out by hand.
//   node exported_attention.mjs FOLDER      opens what exported_attention.py wrote there, and compares
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AdapterConfig, AutoModel } from '../../dist/lib/index.js'

const [folder] = process.argv.slice(2)
const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))

function compare(what, got, expected) {
  const away =
    got?.length === expected.length ? Math.max(...expected.map((value, i) => Math.abs(value - got[i]))) : Number.NaN
  if (!(away < 1e-6)) throw new Error(`${what} is off by ${away}`)
  return away
}

/** Sets parameters by the end of their names. */
function set(model, wanted) {
  const found = model.namedParameters().flatMap(({ name, shape }) => {
    const end = Object.keys(wanted).find((one) => name.endsWith(one))
    return end === undefined ? [] : [[name, { shape, data: Float32Array.from(wanted[end]) }]]
  })
  if (found.length !== Object.keys(wanted).length)
    throw new Error(`${found.map(([name]) => name)} of ${Object.keys(wanted)}`)
  model.loadStateDict(new Map(found))
}

/** The bottleneck behind the first layer's output, with its gradients. */
async function hasBottleneck(what, model, one) {
  const { bottleneck } = one
  const config = AdapterConfig.load('seq_bn', { reductionFactor: 2, leaveOut: [1] })
  const parts = { 'adapter_down.0': 'down', adapter_up: 'up' }
  const ends = Object.entries(parts).flatMap(([ours, theirs]) =>
    ['weight', 'bias'].map((part) => [`${ours}.${part}`, bottleneck[`${theirs}.${part}`]])
  )
  const gradients = Object.fromEntries(ends.map(([end, pair]) => [end, pair[1]]))
  const given = Object.fromEntries(ends.map(([end, pair]) => [end, pair[0]]))
  await adapted(`${what}, a bottleneck`, model, one, config, given, { states: bottleneck.states, gradients })
}

async function adapted(what, model, one, config, given, expected) {
  model.addAdapter('x', config)
  model.addClassificationHead('x', { numLabels: 2, layers: 1, bias: false })
  set(model, { ...given, 'heads.x.1.weight': one.weight })
  const { lastHiddenState } = await model.forward({ inputIds: one.rows }, { adapters: 'x', head: null })
  compare(`${what}: its answer`, lastHiddenState?.data, expected.states)
  model.trainAdapter('x')
  const { gradients } = await model.gradients({ inputIds: one.rows, labels: one.rows.map((_, i) => i % 2) })
  for (const [end, gradient] of Object.entries(expected.gradients)) {
    const [, found] = [...gradients].find(([name]) => name.endsWith(end)) ?? []
    compare(`${what}: the gradient of ${end}`, found?.data, gradient)
  }
  model.deleteHead('x')
  model.deleteAdapter('x')
}

function refusesPrefix(name, model) {
  const told = model.explainPlacement().join('\n')
  if (!/layer 0 takes no prefix: its attention has aten\.scaled_dot_product_attention/.test(told))
    throw new Error(`${name}: ${told}`)
  try {
    model.addAdapter('x', 'prefix_tuning')
  } catch (error) {
    if (/takes no prefix/.test(error.message)) return
    throw error
  }
  throw new Error(`${name}: a prefix stands where its heads are not known`)
}

for (const [name, one] of Object.entries(cases)) {
  if (one.plain === undefined) {
    const refusal = await AutoModel.fromExported(join(folder, one.archive)).catch((error) => error.message)
    if (!/tokens before rows/.test(refusal)) throw new Error(`${name}: ${refusal}`)
    continue
  }
  // Python's loss reads the first token of causal networks, too.
  const model = await AutoModel.fromExported(join(folder, one.archive), { pooling: 'first' })
  const { lastHiddenState } = await model.forward({ inputIds: one.rows }, { head: null })
  const away = compare(name, lastHiddenState?.data, one.plain)
  const { prefix, lora, bottleneck } = one
  // What says nothing of where its heads are stays refused.
  if (prefix === undefined && one.bottleneck !== undefined) refusesPrefix(name, model)
  if (prefix !== undefined) {
    const config = AdapterConfig.load('prefix_tuning_flat', { prefixLength: one.length, dropout: 0 })
    const expected = { states: prefix.states, gradients: { control_trans: prefix.gradient } }
    await adapted(`${name}, a prefix`, model, one, config, { control_trans: prefix.values }, expected)
  }
  if (bottleneck !== undefined) await hasBottleneck(name, model, one)
  if (name === 'einsum, rows and tokens in one behind it') {
    // By name, the layer's own sum is found behind the form that it gets back.
    const placement = { attention: null, feedForward: 'layers.*' }
    const placed = await AutoModel.fromExported(join(folder, one.archive), { pooling: 'first', placement })
    if (!/output: layers\.0 .*sum at/.test(placed.explainPlacement().join())) throw new Error(placed.explainPlacement())
    await hasBottleneck(`${name}, placed by name`, placed, one)
    placed.dispose()
  }
  if (lora !== undefined) {
    const { r, alpha, states, lora_A: a, lora_B: b } = lora
    // By its place: what makes the queries was found by the attention's structure.
    const config = AdapterConfig.load('lora', { r, alpha, attnMatrices: ['q'], leaveOut: [1] })
    const expected = { states, gradients: { lora_A: a[1], lora_B: b[1] } }
    await adapted(`${name}, LoRA`, model, one, config, { lora_A: a[0], lora_B: b[0] }, expected)
  }
  const told = model.explainPlacement().join('\n')
  if (name === 'encoder, tokens first' ? !/tokens before rows/.test(told) : !/layer 1 .*attention/.test(told))
    throw new Error(`${name}: ${told}`)
  const also = [bottleneck && 'a bottleneck', prefix && 'a prefix', lora && 'LoRA'].filter(Boolean).join(' and ')
  console.log(
    `a network with attention by ${name} answers as in Python${also && `, with ${also}, too`} (${away.toExponential(1)})`
  )
  model.dispose()
}
