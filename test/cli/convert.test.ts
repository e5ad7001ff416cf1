import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { readAdapterFolder, readHeadFolder } from '../../lib/exchange/adapter-folder.js'
import { AutoModel } from '../../lib/index.js'
import { readTensors, writeTensors } from '../model/safetensors-file.js'
import { command, fixtures, folderCopy, scratch } from './command.js'

const source = join(fixtures, 'folders/bert-seq_bn-bin')

async function names(path: string): Promise<string[]> {
  const { adapter, weights } = JSON.parse((await command(['inspect', '--json', path])).output)
  return (adapter?.weights ?? weights[0]).tensors.map(({ name }: { name: string }) => name)
}

test.serial('a folder to safetensors and back keeps configs, names and values', async (t) => {
  const there = join(scratch(), 'new', 'there')
  const { status, output } = await command(['convert', source, there])
  t.is(status, 0)
  t.is(output.split('\n').length, 5)
  t.deepEqual(readdirSync(there).sort(), [
    'adapter.safetensors',
    'adapter_config.json',
    'head_config.json',
    'model_head.safetensors'
  ])
  t.is(
    readFileSync(join(there, 'adapter_config.json'), 'utf8'),
    readFileSync(join(source, 'adapter_config.json'), 'utf8')
  )
  const back = join(scratch(), 'back')
  t.is((await command(['convert', there, back, '--format', 'bin'])).status, 0)
  t.deepEqual(await names(back), await names(source))
  const again = join(scratch(), 'again')
  await command(['convert', back, again])
  for (const file of ['adapter.safetensors', 'model_head.safetensors']) {
    t.deepEqual(readFileSync(join(again, file)), readFileSync(join(there, file)))
  }
})

test.serial('a whole model is no adapter whose head could be taken for all of it', async (t) => {
  const { status, errors } = await command(['convert', join(fixtures, 'models/bert-tiny'), join(scratch(), 'to')])
  t.is(status, 2)
  t.regex(errors, /SOURCE: expected .*, got .*bert-tiny, which holds a model; give the file in it/)
})

test.serial('the plain dialect and back', async (t) => {
  const plain = join(scratch(), 'plain')
  const { output } = await command(['convert', source, plain, '--dialect', 'plain', '--format', 'pt', '--json'])
  t.deepEqual(JSON.parse(output).files.length, 4)
  t.true((await names(plain)).some((name) => name.endsWith('.adapters.a.down_project.weight')))
  const hub = join(scratch(), 'hub')
  await command(['convert', plain, hub, '--format', 'bin'])
  t.deepEqual(await names(hub), await names(source))
})

test.serial("a folder without a version gets today's names, words and version", async (t) => {
  const target = join(scratch(), 'modern')
  await command(['convert', join(fixtures, 'folders/bert-legacy'), target])
  t.true((await names(target)).every((name) => name.includes('.adapters.a.')))
  const { config, version } = readAdapterFolder(target)
  t.is(version, 'adapters.1.2.0')
  t.is(config.method === 'bottleneck' && config.nonLinearity, 'gelu_new')
})

test.serial('a single file', async (t) => {
  const target = join(scratch(), 'adapter.pt')
  t.is((await command(['convert', join(source, 'pytorch_adapter.bin'), target, '--dialect', 'plain'])).status, 0)
  t.true((await names(target)).some((name) => name.endsWith('up_project.bias')))
})

test.serial(
  '--name renames the adapter and its head in configs and tensors, through every format and dialect',
  async (t) => {
    let from = source
    const steps = [
      ['safetensors', 'plain'],
      ['pt', 'adapterhub'],
      ['bin', 'plain'],
      ['bin', 'adapterhub']
    ] as const
    for (const [i, [format, dialect]] of steps.entries()) {
      const to = join(scratch(), `step-${i}`)
      const name = `b${i}`
      const args = ['--name', name, '--format', format, '--dialect', dialect, '--json']
      const { status, output, errors } = await command(['convert', from, to, ...args])
      t.is(status, 0, errors)
      t.is(JSON.parse(output).name, name)
      const read = readAdapterFolder(to)
      t.deepEqual([read.name, read.head?.name, read.format], [name, name, format])
      const tensors = [...(await names(to)), ...(await headNames(to))]
      t.true(tensors.every((tensor) => tensor.includes(`.adapters.${name}.`) || tensor.startsWith(`heads.${name}.`)))
      t.is(tensors.length, 12)
      from = to
    }
    const back = join(scratch(), 'back')
    const straight = join(scratch(), 'straight')
    t.is((await command(['convert', from, back, '--name', 'a'])).status, 0)
    await command(['convert', source, straight])
    for (const file of readdirSync(straight)) {
      t.deepEqual(readFileSync(join(back, file)), readFileSync(join(straight, file)), file)
    }
  }
)

async function headNames(path: string): Promise<string[]> {
  const { head } = JSON.parse((await command(['inspect', '--json', path])).output)
  return head.weights.tensors.map(({ name }: { name: string }) => name)
}

test.serial(
  "--name renames the adapter alone where the network's own modules are called as what holds adapters",
  async (t) => {
    const folder = join(scratch(), 'own')
    t.is((await command(['convert', source, folder])).status, 0)
    const file = join(folder, 'adapter.safetensors')
    // An own list `adapters`, whose first module is called as the adapter is, too.
    const lists = [
      ['a', 'of an adapter of its own name'],
      ['0', 'of a number']
    ] as const
    for (const [own, what] of lists) {
      const start = `net.adapters.${own}.output_adapters.adapters.`
      const tensors = [...readTensors(file)].map(
        ([name, tensor], i) => [`${start}a.${i}.${name.split('.').at(-1)}`, tensor] as const
      )
      writeTensors(file, new Map(tensors))
      const target = join(scratch(), `renamed-${own}`)
      const { status, errors } = await command(['convert', folder, target, '--name', 'b'])
      t.is(status, 0, errors)
      const renamed = await names(target)
      t.is(renamed.length, tensors.length)
      t.true(
        renamed.every((name) => name.startsWith(`${start}b.`)),
        what
      )
      t.is(readAdapterFolder(target).name, 'b')
    }
    // A file alone has no name beside it.
    const alone = await command(['convert', file, join(scratch(), 'b.safetensors'), '--name', 'b'])
    t.is(alone.status, 1)
    t.regex(
      alone.errors,
      /expected tensors of one name, got '0', 'a'\).*Convert the folder, whose config has the name/s
    )
  }
)

test.serial('a renamed folder loads with the same logits', async (t) => {
  const target = join(scratch(), 'renamed')
  await command(['convert', join(fixtures, 'folders/bert-legacy'), target, '--name', 'new', '--dialect', 'plain'])
  const model = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  t.teardown(() => model.dispose())
  t.is(await model.loadAdapter(target), 'new')
  await model.loadAdapter(join(fixtures, 'folders/bert-legacy'), { as: 'old', withHead: false })
  const inputIds = [[2, 5, 6, 3]]
  const head = model.heads.has('new') ? 'new' : null
  const [renamed, old] = await Promise.all(
    ['new', 'old'].map((adapters) => model.forward({ inputIds }, { adapters, head, outputHiddenStates: true }))
  )
  t.deepEqual(renamed, old)
})

test.serial('a head alone: its folder and its file', async (t) => {
  const head = join(scratch(), 'head')
  mkdirSync(head)
  for (const file of ['head_config.json', 'pytorch_model_head.bin']) cpSync(join(source, file), join(head, file))
  const target = join(scratch(), 'target')
  const { status, output, errors } = await command(['convert', head, target, '--name', 'b'])
  t.is(status, 0, errors)
  t.deepEqual(output.trim().split('\n'), [join(target, 'model_head.safetensors'), join(target, 'head_config.json')])
  t.is(readHeadFolder(target)?.name, 'b')
  t.true((await headNames(target)).every((name) => name.startsWith('heads.b.')))
  const file = join(scratch(), 'head.bin')
  await command(['convert', join(target, 'model_head.safetensors'), file, '--name', 'c'])
  t.true((await names(file)).every((name) => name.startsWith('heads.c.')))
})

test.serial('--name where it cannot be', async (t) => {
  const target = join(scratch(), 'x')
  const point = await command(['convert', source, target, '--name', 'a.b'])
  t.is(point.status, 2)
  t.regex(point.errors, /a name cannot hold a point, got 'a\.b'/)
  const weights = join(fixtures, 'models/bert-tiny/model.safetensors')
  const none = await command(['convert', weights, `${target}.safetensors`, '--name', 'b'])
  t.is(none.status, 1)
  t.regex(none.errors, /the file holds not just one adapter or head \(expected tensors of one name, got none\)/)
  t.false(existsSync(target) || existsSync(`${target}.safetensors`))
})

test.serial('--force leaves nothing of the old adapter in the folder', async (t) => {
  const target = join(scratch(), 'target')
  await command(['convert', source, target])
  const bare = folderCopy('bert-seq_bn-bin')
  for (const file of ['head_config.json', 'pytorch_model_head.bin']) rmSync(join(bare, file))
  t.is((await command(['convert', bare, target, '--force', '--format', 'bin', '--name', 'b'])).status, 0)
  t.deepEqual(readdirSync(target).sort(), ['adapter_config.json', 'pytorch_adapter.bin'])
})

test.serial('nothing is replaced unasked, and a failure leaves nothing', async (t) => {
  const target = join(scratch(), 'target')
  await command(['convert', source, target])
  const again = await command(['convert', source, target])
  t.is(again.status, 2)
  t.true(again.errors.includes(`TARGET: ${target} exists already: give another one, or --force`), again.errors)
  t.is((await command(['convert', source, target, '--force', '--format', 'bin'])).status, 0)
  const broken = folderCopy('bert-seq_bn-bin')
  writeFileSync(join(broken, 'pytorch_adapter.bin'), 'PK no archive')
  const parent = scratch()
  const failed = await command(['convert', broken, join(parent, 'x')])
  t.is(failed.status, 1)
  t.regex(failed.errors, /pytorch_adapter\.bin/)
  t.deepEqual(readdirSync(parent), [])
  const file = join(parent, 'file')
  writeFileSync(file, '')
  const below = await command(['convert', source, join(file, 'x')])
  t.is(below.status, 1)
  t.regex(below.errors, /file is a file, where a folder is needed/)
})

test.serial('a file of weights is named as what it is', async (t) => {
  const folder = scratch()
  const weights = join(source, 'pytorch_adapter.bin')
  const to = async (name: string, ...options: string[]) =>
    await command(['convert', weights, join(folder, name), '--force', ...options])
  for (const name of ['a.onnx', 'a']) {
    const { status, errors } = await to(name)
    t.is(status, 2)
    t.regex(errors, /TARGET: expected a name that ends in \.safetensors, \.bin or \.pt, or --format, got /)
  }
  for (const [name, format] of [
    ['a.safetensors', 'bin'],
    ['a.pt', 'safetensors']
  ] as const) {
    const { status, errors } = await to(name, '--format', format)
    t.is(status, 2)
    t.regex(errors, new RegExp(`TARGET: expected one for ${format}, got `))
  }
  t.deepEqual(readdirSync(folder), [])
  const magic = { safetensors: /^\{"/, bin: /^PK/ }
  for (const [name, options, format] of [
    ['a.safetensors', [], 'safetensors'],
    ['a.bin', [], 'bin'],
    ['a.pt', ['--format', 'bin'], 'bin'],
    ['a.ckpt', ['--format', 'pt'], 'bin'],
    ['weights', ['--format', 'safetensors'], 'safetensors']
  ] as const) {
    t.is((await to(name, ...options)).status, 0)
    const bytes = readFileSync(join(folder, name))
    t.regex(bytes.subarray(format === 'bin' ? 0 : 8).toString('latin1', 0, 2), magic[format], name)
  }
})

test.serial('wrong use', async (t) => {
  const wrong = await command(['convert', source, join(scratch(), 'x'), '--format', 'safetensor'])
  t.is(wrong.status, 2)
  t.regex(
    wrong.errors,
    /--format: expected one of 'safetensors', 'bin', 'pt', got 'safetensor' \(did you mean 'safetensors'\?\)/
  )
  t.is((await command(['convert', source])).status, 2)
  t.is((await command(['convert', 'nowhere', 'x'])).status, 2)
  t.false(existsSync('x'))
})
