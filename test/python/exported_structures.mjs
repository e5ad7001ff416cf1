// Node's half of the check of networks of other structures than transformers have.
//   node exported_structures.mjs FOLDER      opens what exported_structures.py wrote there, and compares
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AdapterConfig, AutoModel } from '../../dist/lib/index.js'

const [folder] = process.argv.slice(2)
const { cases, linears } = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))

function compare(what, got, expected) {
  const away =
    got?.length === expected.length ? Math.max(...expected.map((value, i) => Math.abs(value - got[i]))) : Number.NaN
  if (!(away < 1e-5)) throw new Error(`${what} is off by ${away}`)
}

/** `layers.0.attention.down.weight` of a bottleneck, `first.lora_A` of LoRA, as they are called below the model. */
function nameOf(theirs) {
  const [, place, kind, step, part] = /^(.*)\.(attention|output)\.(down|up)\.(\w+)$/.exec(theirs) ?? []
  if (place === undefined) return theirs.replace(/\.(lora_[AB])$/, '.loras.x.$1')
  const projection = step === 'down' ? 'adapter_down.0' : 'adapter_up'
  return `${place}.${kind}_adapters.adapters.x.${projection}.${part}`
}

/** The adapter 'x' answers and learns as by hand. */
async function adapted(name, model, { rows, weight, states, parameters }) {
  model.addClassificationHead('x', { numLabels: 2, layers: 1, bias: false })
  const shapes = new Map(model.namedParameters().map((one) => [one.name, one.shape]))
  const { prefix } = model.config.exported
  const here = (theirs) => (prefix === '' ? nameOf(theirs) : `${prefix}.${nameOf(theirs)}`)
  const given = [...Object.entries(parameters).map(([theirs, [values]]) => [here(theirs), values])]
  const own = [...shapes.keys()].filter((one) => one.includes('.x.') && !one.startsWith('heads.'))
  const missing = own.filter((one) => !given.some(([there]) => there === one))
  if (own.length !== given.length || missing.length > 0)
    throw new Error(`${name}: ${missing} among ${given.map(([there]) => there)}`)
  given.push(['heads.x.1.weight', weight])
  model.loadStateDict(
    new Map(given.map(([there, values]) => [there, { shape: shapes.get(there), data: Float32Array.from(values) }]))
  )
  const { lastHiddenState } = await model.forward({ inputIds: rows }, { adapters: 'x', head: null })
  compare(`${name}: the adapters' answer`, lastHiddenState?.data, states)
  model.trainAdapter('x')
  const { gradients } = await model.gradients({ inputIds: rows, labels: rows.map((_, i) => i % 2) })
  for (const [theirs, [, expected]] of Object.entries(parameters))
    compare(`${name}: the gradient of ${theirs}`, gradients.get(here(theirs))?.data, expected)
}

/** Folders come back as they were written, whatever the network's modules are called. */
async function comesBack(name, model, { rows, states }) {
  const saved = mkdtempSync(join(folder, 'saved-'))
  await model.saveAdapter(saved, 'x', { withHead: false })
  await model.loadAdapter(saved, { as: 'y' })
  const { lastHiddenState } = await model.forward({ inputIds: rows }, { adapters: 'y', head: null })
  compare(`${name}: the folder that came back`, lastHiddenState?.data, states)
  if (model.adapterSummary().adapters.some(({ parameters }) => parameters === 0))
    throw new Error(`${name}: no parameters`)
}

/** The names and shapes of a file. */
function namesIn(file) {
  const bytes = readFileSync(file)
  const { __metadata__: _, ...tensors } = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())))
  return Object.entries(tensors)
    .map(([name, { shape }]) => `${name} ${shape}`)
    .sort()
}

/** PEFT's folder gives what it gives in Python, and one of ours has its names. */
async function ofPeft(name, model, { rows, peft }) {
  await model.loadAdapter(join(folder, peft.folder), { as: 'peft' })
  const { lastHiddenState } = await model.forward({ inputIds: rows }, { adapters: 'peft', head: null })
  compare(`${name}: PEFT's folder`, lastHiddenState?.data, peft.states)
  const saved = mkdtempSync(join(folder, 'saved-'))
  await model.saveAdapter(saved, 'peft', { library: 'peft', withHead: false })
  const [ours, theirs] = [saved, join(folder, peft.folder)].map((one) =>
    namesIn(join(one, 'adapter_model.safetensors'))
  )
  if (ours.join() !== theirs.join()) throw new Error(`${name}: ${ours} and ${theirs}`)
}

const lora = (part, r = 2, alpha = 6) => ({ architecture: 'lora', r, alpha, targetModules: [`att.${part}`] })
const forPeft = {
  'a module called twice': {
    in_proj: [lora('in_proj')],
    out_proj: [lora('out_proj')],
    'in_proj-out_proj': [lora('in_proj'), lora('out_proj')],
    'less-out': [lora('in_proj', 3), lora('out_proj', 1, 5)],
    'less-in': [lora('in_proj', 1, 5), lora('out_proj', 3)]
  },
  // There in_proj is no Linear.
  'attention to a memory': { memory: [lora('out_proj')] }
}
const answers = {}

/** Folders for PEFT, which exported_structures.py loads: LoRA at one Linear of an nn.MultiheadAttention, at both, and there of two ranks. */
async function savePeft(network, model, { rows }) {
  for (const [adapter, parts] of Object.entries(forPeft[network] ?? {})) {
    model.addAdapter(adapter, { architecture: 'union', configs: parts })
    const own = model.namedParameters().filter((one) => one.name.includes(`.loras.${adapter}.`))
    const values = own.map(({ name, shape }, i) => {
      const data = Float32Array.from({ length: shape[0] * shape[1] }, (_, j) => Math.sin(i + j) / 4)
      return [name, { shape, data }]
    })
    model.loadStateDict(new Map(values))
    await model.saveAdapter(join(folder, 'ours', adapter), adapter, { library: 'peft', withHead: false })
    const { lastHiddenState } = await model.forward({ inputIds: rows }, { adapters: adapter, head: null })
    answers[adapter] = { network, answers: Array.from(lastHiddenState.data) }
    await model.loadAdapter(join(folder, 'ours', adapter), { as: 'again' })
    const again = await model.forward({ inputIds: rows }, { adapters: 'again', head: null })
    compare(`${network}: the folder that PEFT gets`, again.lastHiddenState?.data, lastHiddenState.data)
    model.deleteAdapter('again')
  }
}

for (const [name, one] of Object.entries(cases)) {
  const model = await AutoModel.fromExported(join(folder, one.archive))
  const ofLayers = one.targets === undefined
  const hasEveryLayer = one.plain.length > 1 && ofLayers
  const { lastHiddenState, hiddenStates } = await model.forward(
    { inputIds: one.rows },
    { head: null, outputHiddenStates: hasEveryLayer }
  )
  compare(name, lastHiddenState?.data, one.plain.at(-1))
  for (const [i, states] of one.plain.entries())
    if (hasEveryLayer) compare(`${name}: layer ${i}`, hiddenStates?.[i]?.data, states)
  if (ofLayers) {
    model.addAdapter('x', AdapterConfig.load('seq_bn', { mhAdapter: true, reductionFactor: 2, nonLinearity: 'relu' }))
    // Behind all that a layer adds.
    model.addAdapter('reft', 'loreft')
    await model.forward({ inputIds: one.rows }, { adapters: 'reft', head: null })
    model.deleteAdapter('reft')
  } else {
    model.addAdapter('x', { architecture: 'lora', r: 2, alpha: 8, targetModules: one.targets })
  }
  await adapted(name, model, one)
  if (ofLayers) await comesBack(name, model, one)
  if (one.peft !== undefined) await ofPeft(name, model, one)
  await savePeft(name, model, one)
  if (name === 'tied Linears') {
    const refused = (targetModules) => {
      try {
        model.addAdapter('y', { architecture: 'lora', targetModules })
      } catch (error) {
        return error.message
      }
    }
    for (const targets of [['wide'], 'all-linear'])
      if (!/nothing can stand at 'wide': it computes in float64/.test(refused(targets)))
        throw new Error(refused(targets))
  }
  if (name === 'a convolution and attention') {
    const [convolution, , attention, , left] = model.explainPlacement()
    if (
      !left.startsWith('layer 0 takes no prefix: no product of scores and values stands by itself in what mixes tokens')
    )
      throw new Error(`${name}: ${left}`)
    if (/query|intermediate/.test(convolution) || !/query layers\.1\.mixer\.q/.test(attention))
      throw new Error(`${name}: ${model.explainPlacement()}`)
  }
  console.log(`${name}: answers, and learns with adapters, as by hand`)
  model.dispose()
}

writeFileSync(join(folder, 'ours', 'answers.json'), JSON.stringify(answers))

const model = await AutoModel.fromExported(join(folder, 'linears.pt2'))
model.addClassificationHead('x', { numLabels: 8, layers: 1, bias: false })
const data = Float32Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0))
model.loadStateDict(new Map([['heads.x.1.weight', { shape: [8, 8], data }]]))
const { logits } = await model.forward({ inputIds: linears.rows })
compare('the head of a network without attention', logits?.data, linears.first.flat())
console.log('a head reads the first token of a network without attention')
model.dispose()
