import { join } from 'node:path'
import test from 'ava'
import { type AdapterConfigSource, AutoModel, type Model } from '../../lib/index.js'
import { fixtures } from '../cli/command.js'
import { open } from '../exported/support.js'

/** The Linears at which the adapter stands, by what is behind the layers' number. */
function standsAt(model: Model, config: AdapterConfigSource): string[] {
  model.addAdapter('x', config)
  const paths = model.namedParameters().flatMap(({ name }) => /^(.*)\.loras\.x\./.exec(name)?.[1] ?? [])
  model.deleteAdapter('x')
  return [...new Set(paths)]
}

const lora = (targetModules: string | readonly string[]) => ({ architecture: 'lora', r: 1, targetModules }) as const

test("'all-linear' is every Linear of the layers, in a family of ours and in an exported network", async (t) => {
  using bert = await AutoModel.fromPretrained(join(fixtures, 'models', 'bert-tiny'))
  const all = standsAt(bert, lora('all-linear'))
  t.deepEqual(all, standsAt(bert, lora(['query', 'key', 'value', 'dense'])))
  t.deepEqual(all, standsAt(bert, "lora[target_modules='all-linear']"))
  t.is(all.length, 6 * bert.config.numHiddenLayers)
  const { model } = await open(t, 'llama')
  const linears = model.config.exported?.linears.map(({ path }) => path) ?? []
  t.deepEqual(standsAt(model, lora('all-linear')).sort(), [...linears].sort())
  t.is(linears.length, 7 * model.config.numHiddenLayers)
})

test('any other text is a regular expression for whole paths, with the prefix of a class or without', async (t) => {
  const { model } = await open(t, 'llama')
  const wanted = ['layers.1.self_attn.q_proj', 'layers.1.self_attn.v_proj']
  t.deepEqual(standsAt(model, lora(String.raw`layers\.1\..*\.(q|v)_proj`)), wanted)
  t.deepEqual(standsAt(model, lora(String.raw`model\.layers\.1\..*\.(q|v)_proj`)), wanted)
  t.throws(() => model.addAdapter('x', lora('q_proj')), {
    message: /matches 'q_proj', a regular expression for whole paths.*an end of paths is in a list: \['q_proj'\]/
  })
  t.throws(() => model.addAdapter('x', lora('(')), { message: /regular expression '\('/ })
  t.false(model.adapters.has('x'))
})
