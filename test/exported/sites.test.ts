import test from 'ava'
import { addAdaptersToModel, type Model } from '../../lib/index.js'
import type { ExportedCase, ExportedGroup } from '../parity/support/exported.js'
import type { Tensor } from '../parity/support/fixtures.js'
import { casesOf, distance, imageModels, inputsOf, open, textModels } from './support.js'

/** A path with what stands in front of all names, most often nothing. */
function named({ config }: Model, path: string): string {
  return config.exported?.prefix ? `${config.exported.prefix}.${path}` : path
}

/** Gives parameters, named by a pattern, the fixture's values. */
function setWeights(model: Model, group: ExportedGroup, one: ExportedCase, nameOf: (part: string) => string) {
  const shapes = new Map(model.namedParameters().map(({ name, shape }) => [name, shape]))
  const values = Object.entries(one.weights ?? {}).map(([part, reference]) => {
    const name = nameOf(part)
    return [name, { data: group.tensor(reference).data, shape: [...(shapes.get(name) ?? [])] }] as const
  })
  model.native.setParameters(new Map(values))
}

function rowsOf({ data, shape: [rows = 1] }: Tensor): Float32Array[] {
  const each = data.length / rows
  return Array.from({ length: rows }, (_, i) => data.subarray(i * each, (i + 1) * each))
}

async function awayFrom(model: Model, group: ExportedGroup, one: ExportedCase): Promise<number> {
  const [values] = Object.values(one.inputs ?? {})
  const rows = typeof values === 'string' ? { pixelValues: rowsOf(group.tensor(values)) } : inputsOf(one.inputs)
  const { lastHiddenState } = await model.forward(rows, { head: null })
  return distance(lastHiddenState?.data ?? [], group.tensor(one.expected.output ?? ''))
}

/** What the kinds of cases are here. */
const linearKinds = {
  lora: { r: 2, alpha: 8 },
  ia3: { r: 1, alpha: 1, compositionMode: 'scale', initWeights: 'ia3' },
  dora: { r: 2, alpha: 8, useDora: 'peft' }
} as const
const partNames: { readonly [part: string]: string } = { scale: 'lora_B', magnitude: 'm.weight' }

for (const name of [...textModels, ...imageModels]) {
  test(`${name}: an adapter at a Linear, by the name that PEFT knows it by`, async (t) => {
    const { group, model } = await open(t, name)
    for (const kind of ['lora', 'ia3', 'dora'] as const) {
      for (const one of casesOf(group, kind)) {
        const path = one.path ?? ''
        const layer = /\.(\d+)\./.exec(path)?.[1]
        // By its end and its layer, and by its whole path where it stands in none.
        const targets =
          layer === undefined
            ? { targetModules: [path] }
            : {
                targetModules: [path.slice(path.indexOf(`.${layer}.`) + 3)],
                leaveOut: [0, 1].filter((other) => other !== Number(layer))
              }
        model.addAdapter('x', { architecture: 'lora', ...targets, ...linearKinds[kind] }, { overwriteOk: true })
        setWeights(model, group, one, (part) => `${named(model, path)}.loras.x.${partNames[part] ?? part}`)
        model.setActiveAdapters('x')
        const away = await awayFrom(model, group, one)
        t.true(away < 1e-5, `${one.name}: ${away}`)
      }
    }
    t.throws(() => model.addAdapter('y', { architecture: 'lora', targetModules: ['no_proj'] }), {
      message: /no Linear of \w+ of an archive is called 'no_proj'/
    })
  })

  test(`${name}: surgery after a module, before it and beside it, and back again`, async (t) => {
    const { group, model } = await open(t, name)
    for (const position of ['after', 'before', 'parallel'] as const) {
      const [one] = casesOf(group, position)
      if (one?.path === undefined) return void t.fail()
      const path = named(model, one.path)
      const before = await awayFrom(model, group, one)
      const scale = position === 'parallel' ? 4 : undefined
      const done = addAdaptersToModel(model, { pattern: path, adapterSize: 4, position, scale })
      const place = `${path}.${{ after: 1, before: 0, parallel: 'adapter' }[position]}`
      setWeights(model, group, one, (part) => `${place}.${part.replace('.', '_project.')}`)
      const away = await awayFrom(model, group, one)
      t.true(away < 1e-5, `${one.name}: ${away}`)
      done.undo()
      t.is(await awayFrom(model, group, one), before)
    }
  })
}
