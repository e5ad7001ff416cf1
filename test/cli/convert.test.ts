import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { readAdapterFolder } from '../../lib/exchange/adapter-folder.js'
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

test.serial('nothing is replaced unasked, and a failure leaves nothing', async (t) => {
  const target = join(scratch(), 'target')
  await command(['convert', source, target])
  const again = await command(['convert', source, target])
  t.is(again.status, 1)
  t.regex(again.errors, /target exists already\. Give another TARGET, or --force/)
  t.is((await command(['convert', source, target, '--force', '--format', 'bin'])).status, 0)
  const broken = folderCopy('bert-seq_bn-bin')
  writeFileSync(join(broken, 'pytorch_adapter.bin'), 'PK no archive')
  const parent = scratch()
  const failed = await command(['convert', broken, join(parent, 'x')])
  t.is(failed.status, 1)
  t.regex(failed.errors, /pytorch_adapter\.bin/)
  t.deepEqual(readdirSync(parent), [])
})

test.serial('wrong use', async (t) => {
  const wrong = await command(['convert', source, join(scratch(), 'x'), '--format', 'safetensor'])
  t.is(wrong.status, 2)
  t.regex(
    wrong.errors,
    /--format: expected one of safetensors, bin, pt, got 'safetensor' \(did you mean 'safetensors'\?\)/
  )
  t.is((await command(['convert', source])).status, 2)
  t.is((await command(['convert', 'nowhere', 'x'])).status, 1)
  t.false(existsSync('x'))
})
