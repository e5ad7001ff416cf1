import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { loadedAddon } from '../../lib/native/addon.js'
import { platformKey } from '../../lib/native/platform.js'
import { repository, runNode, temporaryFolder } from '../native/support.js'

const npm = (args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env) =>
  execFileSync('npm', args, {
    cwd,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: process.platform === 'win32'
  })

/** The package as it would be published: what `files` names, with prebuilds made by prebuildify. */
async function pack(t: ExecutionContext): Promise<string> {
  const stage = temporaryFolder(t)
  const parts = ['LICENSE', 'README.md', 'CHANGELOG.md', 'docs', 'dist/lib', 'recipes', 'schema', 'scripts/export']
  for (const name of ['package.json', ...parts]) {
    if (existsSync(join(repository, name))) cpSync(join(repository, name), join(stage, name), { recursive: true })
  }
  const built = join(repository, 'build', 'Release', 'torch_adapters.node')
  const { ino, mtimeMs } = statSync(built)
  const made = await runNode(['scripts/prebuildify.mjs', stage])
  t.is(made.code, 0, made.stdout + made.stderr)
  // A program that runs beside it has this file mapped.
  t.like(statSync(built), { ino, mtimeMs })
  const [packed] = JSON.parse(npm(['pack', '--json', '--ignore-scripts'], stage)) as { filename: string }[]
  return join(stage, packed?.filename ?? '')
}

/** A PATH with node and nothing else: no compiler, no CMake, no Python; and no libtorch that was fetched before. */
function bareMachine(t: ExecutionContext): NodeJS.ProcessEnv {
  const bin = temporaryFolder(t)
  symlinkSync(process.execPath, join(bin, 'node'))
  return { PATH: bin, HOME: temporaryFolder(t), TORCH_ADAPTERS_CACHE: temporaryFolder(t) }
}

test('the packed tarball, installed without scripts into an empty project, works as soon as libtorch is found', async (t) => {
  t.timeout(5 * 60_000)
  const tarball = await pack(t)
  const project = temporaryFolder(t)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', version: '1.0.0', type: 'module' }))
  npm(['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', tarball], project)
  const installed = join(project, 'node_modules', 'torch-adapters')

  t.deepEqual(
    readdirSync(installed)
      .filter((name) => !/\.(md|json)$|^LICENSE$/.test(name))
      .sort(),
    ['dist', 'docs', 'prebuilds', 'recipes', 'schema', 'scripts']
  )
  t.deepEqual(readdirSync(join(installed, 'dist')), ['lib'])
  const exporter = readdirSync(join(installed, 'scripts', 'export', 'torch_adapters_export'))
  t.true(exporter.includes('__main__.py') && exporter.every((name) => name.endsWith('.py')), exporter.join())
  t.deepEqual(readdirSync(join(installed, 'prebuilds', platformKey)).sort(), ['loader', 'torch-adapters.node'])

  const bare = bareMachine(t)
  const cli = join(installed, 'dist', 'lib', 'cli', 'main.js')
  const without = await runNode([cli, 'doctor', '--json'], bare, project)
  t.is(without.code, 1)
  t.is((JSON.parse(without.stdout) as { libtorch: unknown }).libtorch, null)

  const env = { ...bare, LIBTORCH: loadedAddon().libtorch.path }
  const doctor = await runNode([cli, 'doctor', '--json'], env, project)
  t.is(doctor.code, 0, doctor.stdout + doctor.stderr)
  const { addon } = JSON.parse(doctor.stdout) as { addon: string }
  t.is(dirname(addon), join(installed, 'prebuilds', platformKey))

  mkdirSync(join(project, 'src'))
  writeFileSync(join(project, 'src', 'main.js'), program)
  const ran = await runNode([join('src', 'main.js')], env, project)
  t.is(ran.code, 0, ran.stdout + ran.stderr)
  t.deepEqual(JSON.parse(ran.stdout), { shape: [2, 3], finite: true })
})

// A forward through a tiny random model: the whole way from the package's entry to libtorch's kernels.
const program = `
import { AutoModel } from 'torch-adapters'
const model = await AutoModel.fromConfig({
  model_type: 'bert', vocab_size: 50, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2,
  intermediate_size: 32, max_position_embeddings: 20
}, { seed: 1 })
model.addAdapter('a', 'pfeiffer[reduction_factor=4]')
model.addClassificationHead('a', { numLabels: 3 })
model.setActiveAdapters('a')
const { logits } = await model.forward({ inputIds: [[1, 2, 3], [4, 5]] })
console.log(JSON.stringify({ shape: logits.shape, finite: logits.data.every(Number.isFinite) }))
model.dispose()
`
