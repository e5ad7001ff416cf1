import { AdapterConfig, addAdaptersToModel, freezeBaseModel, type Model } from '../../lib/index.js'
import type { ForwardInputs } from '../../lib/model/inputs.js'
import type { ExportedCase, ExportedGroup, ExportedInputs } from '../parity/support/exported.js'
import { AdamW } from './adamw.js'
import { casesOf, distance } from './support.js'

/** The fixture's training of adapters at all sub-layers, or after one module where there are none, and a head for three labels. */
export function trainingOf(group: ExportedGroup): ExportedCase {
  const [one] = casesOf(group, 'training')
  if (one === undefined) throw new Error('no case of training')
  return one
}

/** Adapter and head `x` as the fixture's training begins; gives the names of what trains, by the fixture's. */
export function setTrained(model: Model, group: ExportedGroup): Map<string, string> {
  const one = trainingOf(group)
  const places = (one.subLayers ?? []).filter(({ location }) => location !== 'cross')
  const parts = ['down.weight', 'down.bias', 'up.weight', 'up.bias']
  const headOptions = { numLabels: 3, layers: 1 }
  if (model.config.imageSize === null) model.addClassificationHead('x', headOptions)
  else model.addImageClassificationHead('x', { ...headOptions, usePooler: false })
  let theirs = places.flatMap(({ layer, location }) => parts.map((part) => `${layer}.${location}.${part}`))
  if (places.length > 0) {
    const reductionFactor = model.config.hiddenSize / 4
    model.addAdapter('x', AdapterConfig.load('seq_bn', { mhAdapter: true, reductionFactor, nonLinearity: 'relu' }))
    model.trainAdapter('x')
  } else {
    // Where no sub-layer is, one stands after a module.
    const [site] = casesOf(group, 'after')
    const found = model.namedModules().filter((path) => path === site?.path || path.endsWith(`.${site?.path}`))
    addAdaptersToModel(model, { pattern: found[0] ?? '', adapterSize: 4 })
    freezeBaseModel(model)
    theirs = parts.map((part) => `after.${part}`)
  }
  const ours = model.namedParameters()
  const isAdapter = (name: string) => name.includes('.adapters.x.') || /\.1\.(down|up)_project\./.test(name)
  const adapters = inOrder(ours.filter(({ name }) => isAdapter(name)).map(({ name }) => name))
  const head = ours.filter(({ name }) => name.startsWith('heads.x.')).map(({ name }) => name)
  const names = new Map([
    ...theirs.map((name, i): [string, string] => [name, adapters[i] ?? '']),
    ['head.weight', head[0] ?? ''],
    ['head.bias', head[1] ?? '']
  ])
  const shapes = new Map(ours.map(({ name, shape }) => [name, [...shape]]))
  const values = Object.entries(one.weights ?? {}).map(([name, reference]) => {
    const own = names.get(name) ?? ''
    return [own, { data: group.tensor(reference).data, shape: shapes.get(own) ?? [] }] as const
  })
  if (values.length !== adapters.length + head.length) throw new Error('other sub-layers than the fixture has')
  model.native.setParameters(new Map(values))
  return names
}

/** Of each layer those after its attention first, wherever its modules stand in PyTorch's tree. */
function inOrder(names: readonly string[]): string[] {
  const layerOf = (name: string) => /^.*?\.\d+\./.exec(name)?.[0] ?? ''
  const layers = [...new Set(names.map(layerOf))]
  const rank = (name: string) => 2 * layers.indexOf(layerOf(name)) + Number(!/attention/.test(name))
  return [...names].sort((a, b) => rank(a) - rank(b))
}

/** Trains as the fixture does, by gradients and an AdamW of the test's own; gives how far losses and parameters are off. */
export async function awayByStep(
  model: Model,
  group: ExportedGroup,
  inputsOf: (inputs: ExportedInputs, group: ExportedGroup) => ForwardInputs
): Promise<{ losses: number; final: number }> {
  const one = trainingOf(group)
  const names = setTrained(model, group)
  const shapes = new Map(model.namedParameters().map(({ name, shape }) => [name, [...shape]]))
  let values = new Map([...names.values()].map((name) => [name, model.parameter(name).data]))
  const optimizer = new AdamW(one.args?.learningRate ?? 0, one.args?.weightDecay ?? 0)
  const losses: number[] = []
  const batches = one.batches ?? []
  for (let step = 0; step < (one.args?.steps ?? 0); step++) {
    const batch = batches[step % batches.length]
    if (batch === undefined) throw new Error('no batch')
    const { loss, gradients } = await model.gradients({ ...inputsOf(batch.inputs, group), labels: batch.labels })
    losses.push(loss)
    values = optimizer.next(values, new Map([...gradients].map(([key, { data }]) => [key, data])))
    model.native.setParameters(
      new Map([...values].map(([name, data]) => [name, { data, shape: shapes.get(name) ?? [] }]))
    )
  }
  const final = Object.entries(one.expected.final ?? {}).map(([name, reference]) =>
    distance(values.get(names.get(name) ?? '') ?? [], group.tensor(reference))
  )
  return { losses: distance(losses, group.tensor(one.expected.losses ?? '')), final: Math.max(...final) }
}
