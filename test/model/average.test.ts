import test from 'ava'
import { type AdapterConfigSource, AutoModel, type Model } from '../../lib/index.js'

const path = 'test/parity/fixtures/models/bert-tiny'
const row = { inputIds: [[7, 8, 9, 10]] }
const query = (name: string) => `bert.encoder.layer.0.attention.self.query.loras.${name}`

/** Adapters of these configs whose every parameter has values of its own. */
async function open(configs: { readonly [name: string]: AdapterConfigSource }): Promise<Model> {
  const model = await AutoModel.fromPretrained(path)
  for (const [name, config] of Object.entries(configs)) {
    model.addAdapter(name, config)
    const own = model.namedParameters().filter((parameter) => parameter.name.includes(`s.${name}.`))
    const trained = own.filter((parameter) => !parameter.name.includes('shared_parameters'))
    const salt = name.charCodeAt(0)
    model.loadStateDict(
      new Map(
        trained.map(({ name: key, shape }, n) => {
          const size = shape.reduce((product, count) => product * count, 1)
          const data = Float32Array.from({ length: size }, (_, i) => Math.sin(salt + n * 13 + i * 7) / 3)
          // The diagonal of what an orthogonal weight is made of holds signs.
          if (key.endsWith('weight.original'))
            for (let i = 0; i < (shape[0] ?? 0); i++) data[i * (shape[1] ?? 0) + i] = -1
          return [key, { data, shape }]
        })
      )
    )
  }
  return model
}

const values = (model: Model, name: string) => [...model.parameter(name).data]

function near(actual: readonly number[], expected: readonly number[], tolerance = 1e-6): boolean {
  return (
    actual.length === expected.length && actual.every((x, i) => Math.abs(x - (expected[i] ?? Number.NaN)) <= tolerance)
  )
}

/** Σ wi vi, in the order of the names. */
function sums(model: Model, of: (name: string) => string, weights: { readonly [name: string]: number }): number[] {
  const parts = Object.entries(weights).map(([name, w]) => values(model, of(name)).map((x) => w * x))
  return (parts[0] ?? []).map((_, i) => parts.reduce((sum, part) => sum + (part[i] ?? 0), 0))
}

test('weights by name are the weights: the peer stops at a KeyError there', async (t) => {
  // adapters 1.3: average_adapter('c', {'a': .2, 'b': .8}) asks the dictionary for its element 0; and without that it
  // would leave the dictionary's values unread and weigh all alike.
  using model = await open({ a: 'seq_bn', b: 'seq_bn' })
  model.averageAdapter('c', { a: 0.2, b: 0.8 })
  const key = (name: string) => `bert.encoder.layer.1.output.adapters.${name}.adapter_up.weight`
  t.true(near(values(model, key('c')), sums(model, key, { a: 0.2, b: 0.8 })))
  model.averageAdapter('d', ['a', 'b'], { weights: [1, 4] })
  t.deepEqual(values(model, key('d')), values(model, key('c')))
  model.averageAdapter('e', ['a', 'b'])
  t.true(near(values(model, key('e')), sums(model, key, { a: 0.5, b: 0.5 })))
  model.averageAdapter('f', { a: 2, b: -1 }, { normalizeWeights: false })
  t.true(near(values(model, key('f')), sums(model, key, { a: 2, b: -1 })))
})

const methods = [
  'double_seq_bn[ln_before=True, scaling="channel"]',
  'lora',
  'ia3',
  'dora',
  'mtl_lora',
  'lora|seq_bn',
  'compacter[reduction_factor=4]',
  'prefix_tuning[prefix_length=2, bottleneck_size=4]',
  'prefix_tuning_flat[prefix_length=2]',
  'prompt_tuning[prompt_length=2]',
  'noreft',
  'loreft'
]

for (const config of methods) {
  test(`the mean of one adapter is that adapter: ${config}`, async (t) => {
    using model = await open({ a: config })
    model.averageAdapter('b', ['a'], { setActive: true })
    t.is(model.activeAdapters, 'b')
    const [mean, one] = [
      await model.forward(row, { outputHiddenStates: true }),
      await model.forward(row, { adapters: 'a', outputHiddenStates: true })
    ]
    t.deepEqual(mean.lastHiddenState, one.lastHiddenState)
  })
}

test('a negative weight negates B alone, so that it takes a change away', async (t) => {
  using model = await open({ a: 'lora[r=2]', b: 'lora[r=2]' })
  const combineStrategy = 'lora_linear_only_negate_b'
  model.averageAdapter('c', { a: 1, b: -1 }, { combineStrategy, normalizeWeights: false })
  t.true(
    near(
      values(model, `${query('c')}.lora_A`),
      sums(model, (name) => `${query(name)}.lora_A`, { a: 1, b: 1 })
    )
  )
  t.true(
    near(
      values(model, `${query('c')}.lora_B`),
      sums(model, (name) => `${query(name)}.lora_B`, { a: 1, b: -1 })
    )
  )
})

/** s B A of a place, row by row. */
function change(model: Model, name: string, scale: number): number[] {
  const [a, b] = [model.parameter(`${query(name)}.lora_A`), model.parameter(`${query(name)}.lora_B`)]
  const [r = 0, columns = 0] = a.shape
  return Array.from({ length: (b.shape[0] ?? 0) * columns }, (_, i) => {
    const [out, col] = [Math.floor(i / columns), i % columns]
    let sum = 0
    for (let k = 0; k < r; k++) sum += (b.data[out * r + k] ?? 0) * (a.data[k * columns + col] ?? 0)
    return sum * scale
  })
}

test('the mean of the changes counts as they do, whatever the ranks', async (t) => {
  // The peer sums B A without alpha / r, so that there a mean of another rank counts alpha / svdRank instead.
  using model = await open({ a: 'lora[r=2, alpha=6]', b: 'lora[r=3, alpha=1]' })
  const combineStrategy = 'lora_delta_w_svd'
  model.averageAdapter('c', { a: 0.25, b: 0.75 }, { combineStrategy, svdRank: 5 })
  const [a, b] = [change(model, 'a', 3), change(model, 'b', 1 / 3)]
  const wanted = a.map((x, i) => 0.25 * x + 0.75 * (b[i] ?? 0))
  t.true(near(change(model, 'c', 6 / 5), wanted, 1e-5))
  t.like(model.adapters.get('c'), { r: 5, alpha: 6 })
  // More rank than there is: the rest is zero.
  model.averageAdapter('d', ['a'], { combineStrategy, svdRank: 9 })
  t.true(near(change(model, 'd', 6 / 9), a, 1e-5))
  // Less: the best of that rank is nearer than either part alone, and its rows are orthonormal.
  model.averageAdapter('e', ['a', 'b'], { combineStrategy, svdRank: 1 })
  const factor = values(model, `${query('e')}.lora_A`)
  t.true(Math.abs(factor.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-5)
  const half = a.map((x, i) => 0.5 * x + 0.5 * (b[i] ?? 0))
  const error = (got: number[]) => got.reduce((sum, x, i) => sum + (x - (half[i] ?? 0)) ** 2, 0)
  t.true(error(change(model, 'e', 6)) < error(half.map(() => 0)))
})

test('invertible parts have a mean', async (t) => {
  using model = await open({ a: 'seq_bn_inv', b: 'seq_bn_inv' })
  model.averageAdapter('c', { a: 0.25, b: 0.75 })
  const names = model.namedParameters().flatMap(({ name }) => (name.includes('invertible_adapters.c.') ? [name] : []))
  t.true(names.length > 0)
  for (const name of names) {
    const wanted = sums(model, (of) => name.replace('.c.', `.${of}.`), { a: 0.25, b: 0.75 })
    t.true(near(values(model, name), wanted), name)
  }
  // Of one alone it answers as that one.
  model.averageAdapter('d', ['a'])
  const answers = async (adapters: string) => [
    ...((await model.forward(row, { adapters })).lastHiddenState?.data ?? [])
  ]
  t.true(near(await answers('d'), await answers('a'), 1e-5))
})

test('what has no mean is refused, and leaves what was there', async (t) => {
  using model = await open({ a: 'lora', b: 'lora[r=4]', d: 'dora', v: 'vera', w: 'vera' })
  const refuses = (work: () => void, message: RegExp) => {
    t.throws(work, { message })
    t.false(model.adapters.has('c'))
  }
  refuses(() => model.averageAdapter('c', ['a', 'b']), /'a' and 'b' have different configurations.*got r 8 and 4/)
  model.addAdapter('n', 'seq_bn')
  model.addAdapter('u', 'lora|seq_bn')
  refuses(() => model.averageAdapter('c', ['a', 'n']), /got the method lora and the method bottleneck\)/)
  refuses(() => model.averageAdapter('c', ['u', 'a']), /got the union lora\|bottleneck and the method lora\)/)
  const svd = { combineStrategy: 'lora_delta_w_svd', svdRank: 33 } as const
  refuses(() => model.averageAdapter('c', ['a'], svd), /svdRank: expected at most 32, the highest rank .* got 33/)
  refuses(() => model.averageAdapter('c', ['a', 'x']), /no 'x' here; there are 'a', 'b', 'd'/)
  refuses(() => model.averageAdapter('c', []), /at least one name/)
  refuses(() => model.averageAdapter('c', ['a', 'a']), /'a' is there twice/)
  refuses(() => model.averageAdapter('a', ['a']), /is one of those that are averaged/)
  refuses(() => model.averageAdapter('c', { a: 1 }, { weights: [1] }), /weights of their own already/)
  refuses(() => model.averageAdapter('c', ['a'], { weights: [1, 2] }), /2 weights for 1 names/)
  refuses(() => model.averageAdapter('c', { d: 0 }), /add up to 0/)
  refuses(() => model.averageAdapter('c', ['a'], { svdRank: 2 }), /svdRank/)
  refuses(() => model.averageAdapter('c', ['a'], { combineStrategy: 'lora_delta_w_svd' }), /needs the new rank/)
  refuses(() => model.averageAdapter('c', ['d'], { combineStrategy: 'lora_linear_only_negate_b' }), /for LoRA alone/)
  refuses(() => model.averageAdapter('c', ['v', 'w']), /frozen values of .* are not the same/)
  refuses(() => model.averageAdapter('c', ['a'], { combineStrategy: 'ties' as 'linear' }), /combineStrategy/)
  const before = values(model, `${query('b')}.lora_A`)
  t.throws(() => model.averageAdapter('b', ['v', 'w'], { overwriteOk: true }), { message: /frozen/ })
  t.throws(() => model.averageAdapter('b', ['a']), { message: /exists already/ })
  t.deepEqual(values(model, `${query('b')}.lora_A`), before)
})

test('prefixes and interventions have a mean that runs; orthogonal ones where they start from one base', async (t) => {
  const configs = {
    p: 'prefix_tuning_flat[prefix_length=2]',
    q: 'prefix_tuning_flat[prefix_length=2]',
    r: 'noreft',
    s: 'noreft'
  }
  using model = await open({
    ...configs,
    x: 'loreft',
    y: 'loreft',
    u: 'loreft[init_weights_seed=3]',
    v: 'loreft[init_weights_seed=3]'
  })
  for (const [one, other] of ['pq', 'rs', 'uv'].map((pair) => [...pair] as [string, string])) {
    model.averageAdapter('mean', { [one]: 1, [other]: 3 }, { overwriteOk: true })
    const names = model.namedParameters().filter(({ name }) => name.includes('.mean.') && !name.endsWith('.base'))
    t.true(names.length > 0)
    for (const { name } of names) {
      const key = (adapter: string) => name.replace('.mean.', `.${adapter}.`)
      t.true(near(values(model, name), sums(model, key, { [one]: 0.25, [other]: 0.75 })), name)
    }
    const [mean, first] = [await model.forward(row, { adapters: 'mean' }), await model.forward(row, { adapters: one })]
    t.notDeepEqual(mean.lastHiddenState, first.lastHiddenState, one)
  }
  // Weights that do not add up to 1 leave the signs of an orthogonal weight, which would else become 0.
  model.averageAdapter('half', { u: 0.25, v: 0.25 }, { normalizeWeights: false })
  const [half, none] = [await model.forward(row, { adapters: 'half' }), await model.forward(row, { adapters: null })]
  t.notDeepEqual(half.lastHiddenState, none.lastHiddenState)
  t.throws(() => model.averageAdapter('c', ['x', 'y']), {
    message: /frozen values of .*base are not the same.*ReFT adapters.*init_weights_seed/
  })
})

test('heads of one shape have a mean', async (t) => {
  using model = await AutoModel.fromPretrained(path)
  model.addClassificationHead('a', { numLabels: 3 })
  model.addClassificationHead('b', { numLabels: 3 })
  model.addClassificationHead('x', { numLabels: 2 })
  model.averageHead('c', { a: 1, b: 3 })
  const key = (name: string) => `heads.${name}.1.weight`
  t.true(near(values(model, key('c')), sums(model, key, { a: 0.25, b: 0.75 })))
  t.throws(() => model.averageHead('d', ['a', 'x']), {
    message: /'a' and 'x' have different configurations.*got numLabels 3 and 2.*Average heads that differ/
  })
  t.throws(() => model.averageHead('d', []), { message: /heads.*at least one name/ })
  t.throws(() => model.averageHead('d', ['aa']), { message: /heads: no 'aa' here/ })
  model.addMaskedLmHead('m')
  model.averageHead('n', ['m'])
  const [n, m] = [await model.forward(row, { head: 'n' }), await model.forward(row, { head: 'm' })]
  t.deepEqual(n.logits, m.logits)
})
