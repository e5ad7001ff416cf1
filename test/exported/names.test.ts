import test from 'ava'
import { casesOf, imageModels, open, textModels } from './support.js'

for (const name of [...textModels, ...imageModels]) {
  test(`${name}: modules and parameters have the names of the module that was exported`, async (t) => {
    const { group, model } = await open(t, name)
    const [names] = casesOf(group, 'names')
    const own = names?.modules?.some((path) => path === 'heads') ? 'model.' : ''
    const modules = model.namedModules().filter((path) => path !== '' && path !== 'model')
    t.true(modules.every((path) => path.startsWith(own)))
    t.deepEqual(modules.map((path) => path.slice(own.length)).sort(), [...(names?.modules ?? [])].sort())
    const parameters = model.namedParameters().filter(({ part }) => part === 'base')
    t.deepEqual(
      parameters.map((parameter) => parameter.name.slice(own.length)).sort(),
      [...(names?.parameters ?? [])].sort()
    )
  })

  test(`${name}: explainPlacement speaks of modules by these names`, async (t) => {
    const { model } = await open(t, name)
    const modules = new Set(model.native.namedModules().map((module) => module.path))
    // "layer 0 (encoder.layer.0), attention: … (node 12, encoder.layer.0.output)…; query encoder.layer.0.…query, …"
    const told =
      model
        .explainPlacement()
        .join('\n')
        .match(/[A-Za-z_]\w*(\.\w+)*\.\d+(\.\w+)*/g) ?? []
    t.deepEqual(
      told.filter((path) => !path.startsWith('aten.') && !modules.has(path)),
      []
    )
  })
}
