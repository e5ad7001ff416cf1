import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { repository, runNode, temporaryFolder, writeTree } from '../native/support.js'

const addon = 'prebuilds/linux-x64/torch-adapters.node'
const loader = 'prebuilds/linux-x64/loader/torch_adapters_loader.node'
const compiled = 'dist/lib/index.js'

test('packing is refused in one paragraph unless there are a binary, its loader and the compiled library', async (t) => {
  const check = async (...files: string[]) => {
    const folder = temporaryFolder(t)
    writeTree(folder, Object.fromEntries(files.map((file) => [file, ''])))
    return await runNode(['scripts/prepack.mjs', folder])
  }
  t.is((await check(addon, loader, compiled)).code, 0)
  const lacking = [
    [],
    [compiled],
    [addon, compiled],
    [addon, loader],
    [addon, loader, compiled, 'prebuilds/win32-x64/x']
  ]
  for (const files of lacking) {
    const { code, stdout, stderr } = await check(...files)
    t.is(code, 1, stdout + stderr)
    t.regex(stderr.replaceAll('\n', ' '), /There is nothing to pack yet: .* Run "npm run prebuildify" first/)
    t.notRegex(stderr, /\n\s+at /)
  }
})

test('npm runs the check before it packs, and nothing when the package is installed', (t) => {
  const { scripts } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'))
  t.is(scripts.prepack, 'node scripts/prepack.mjs')
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) t.false(name in scripts, name)
})
