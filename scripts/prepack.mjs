// npm runs this before it packs: a tarball without a binary or without the compiled TypeScript can do nothing.
//   node scripts/prepack.mjs [FOLDER]      FOLDER: the package (default: the repository)
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { root } from './lib/run.mjs'
import { main, Problem } from './lib/terminal.mjs'

const folder = resolve(process.argv[2] ?? root)
const prebuilds = join(folder, 'prebuilds')
const parts = ['torch-adapters.node', join('loader', 'torch_adapters_loader.node')]

await main(async () => {
  const platforms = existsSync(prebuilds) ? readdirSync(prebuilds) : []
  const whole = platforms.filter((name) => parts.every((part) => existsSync(join(prebuilds, name, part))))
  const missing = [
    ...(whole.length > 0 && whole.length === platforms.length
      ? []
      : [`${parts.join(' and ')} in ${prebuilds}/<platform>`]),
    ...(existsSync(join(folder, 'dist', 'lib', 'index.js')) ? [] : [join(folder, 'dist', 'lib')])
  ]
  if (missing.length === 0) return
  throw new Problem(
    `There is nothing to pack yet: the package needs ${missing.join(', and ')}, which is not there. ` +
      'Run "npm run prebuildify" first: it makes the binary of this machine\'s platform.'
  )
})
