import test from 'ava'
import { addAdaptersToModel, bottleneck, type Model, sequential } from '../../lib/index.js'
import type { ExportedCase, ExportedGroup } from '../parity/support/exported.js'
import { casesOf, distance, inputsOf, open, textModels } from './support.js'

/** Gives parameters, named by a pattern, the fixture's values. */
function setWeights(model: Model, group: ExportedGroup, one: ExportedCase, nameOf: (part: string) => string) {
  const shapes = new Map(model.namedParameters().map(({ name, shape }) => [name, shape]))
  const values = Object.entries(one.weights ?? {}).map(([part, reference]) => {
    const name = nameOf(part)
    return [name, { data: group.tensor(reference).data, shape: [...(shapes.get(name) ?? [])] }] as const
  })
  model.native.setParameters(new Map(values))
}

async function awayFrom(model: Model, group: ExportedGroup, one: ExportedCase): Promise<number> {
  const { lastHiddenState } = await model.forward(inputsOf(one.inputs), { head: null })
  return distance(lastHiddenState?.data ?? [], group.tensor(one.expected.output ?? ''))
}

for (const name of textModels) {
  test(`${name}: an adapter at a Linear, by the name that PEFT knows it by`, async (t) => {
    const { group, model } = await open(t, name)
    for (const one of [...casesOf(group, 'lora'), ...casesOf(group, 'ia3')]) {
      const path = one.path ?? ''
      const layer = Number(/\.(\d+)\./.exec(path)?.[1])
      const isLora = one.kind === 'lora'
      model.addAdapter(one.kind, {
        architecture: 'lora',
        targetModules: [path.slice(path.indexOf(`.${layer}.`) + 3)],
        leaveOut: [0, 1].filter((other) => other !== layer),
        ...(isLora ? { r: 2, alpha: 8 } : { r: 1, alpha: 1, compositionMode: 'scale', initWeights: 'ia3' })
      })
      const place = `${model.config.exported?.prefix}.${path}.loras.${one.kind}`
      setWeights(model, group, one, (part) => `${place}.${part === 'scale' ? 'lora_B' : part}`)
      model.setActiveAdapters(one.kind)
      const away = await awayFrom(model, group, one)
      t.true(away < 1e-5, `${one.name}: ${away}`)
    }
    t.throws(() => model.addAdapter('y', { architecture: 'lora', targetModules: ['no_proj'] }), {
      message: /no Linear of [\w-]+ is called 'no_proj'/
    })
  })

  test(`${name}: surgery after a module and before it, and back again`, async (t) => {
    const { group, model } = await open(t, name)
    const hiddenSize = model.config.hiddenSize
    for (const one of [...casesOf(group, 'after'), ...casesOf(group, 'before')]) {
      const before = await awayFrom(model, group, one)
      const path = `${model.config.exported?.prefix}.${one.path}`
      const done =
        one.kind === 'after'
          ? addAdaptersToModel(model, { pattern: path, adapterSize: 4 })
          : model.replaceModules(path, (module) => sequential(bottleneck({ hiddenSize, adapterSize: 4 }), module))
      const place = `${path}.${one.kind === 'after' ? 1 : 0}`
      setWeights(model, group, one, (part) => `${place}.${part.replace('.', '_project.')}`)
      const away = await awayFrom(model, group, one)
      t.true(away < 1e-5, `${one.name}: ${away}`)
      done.undo()
      t.is(await awayFrom(model, group, one), before)
    }
  })
}
