import { join } from 'node:path'
import test from 'ava'
import { type AdapterConfigSource, AutoModel } from '../../lib/index.js'
import { fixtures, readIndex } from './support/fixtures.js'

interface Names {
  readonly adapter: AdapterConfigSource
  readonly parameters: { readonly [name: string]: number[] }
  readonly added: { readonly [name: string]: number[] }
  readonly modules: { readonly [path: string]: string }
  readonly headDropouts: readonly string[]
}

const isDropout = (path: string) => /(^|[._])drop(out)?$/.test(path)

const names: { readonly [folder: string]: Names } = readIndex('names')

for (const [folder, expected] of Object.entries(names)) {
  test(`parameters and modules are called as in PyTorch: ${folder}`, async (t) => {
    using model = await AutoModel.fromPretrained(join(fixtures, 'models', folder), { withHead: false })
    const shapes = () => Object.fromEntries(model.namedParameters().map(({ name, shape }) => [name, [...shape]]))
    t.deepEqual(shapes(), expected.parameters)
    const paths = new Set(model.namedModules())
    t.deepEqual(
      Object.keys(expected.modules).filter((path) => !paths.has(path)),
      []
    )
    const dropouts = Object.entries(expected.modules).flatMap(([path, type]) => (type === 'Dropout' ? [path] : []))
    t.deepEqual([...paths].filter(isDropout).sort(), dropouts.sort())

    model.addAdapter('a', expected.adapter)
    const head = { numLabels: 3, layers: 2 }
    model.config.imageSize === null
      ? model.addClassificationHead('a', head)
      : model.addImageClassificationHead('a', head)
    t.deepEqual(shapes(), { ...expected.parameters, ...expected.added })
    const ofHead = model.namedModules('heads.a.*').filter((path) => model.getSubmodule(path).type === 'Dropout')
    t.deepEqual(
      ofHead,
      expected.headDropouts.map((path) => `heads.${path}`)
    )
    model.deleteAdapter('a')
    model.deleteHead('a')
    t.deepEqual(shapes(), expected.parameters)
  })
}
