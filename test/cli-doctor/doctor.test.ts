import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { minorOf, oldNodeReason, packageJson } from '../../lib/native/platform.js'
import { bareEnvironment, runNode, temporaryFolder, writeFakeLibTorch } from '../native/support.js'

const cli = (args: readonly string[], env?: NodeJS.ProcessEnv) => runNode(['dist/lib/cli/main.js', ...args], env)
const minor = minorOf(packageJson.libtorch.version)

test('doctor --json tells libtorch, addon, threads, instruction sets and devices', async (t) => {
  const { code, stdout, stderr } = await cli(['doctor', '--json'])
  t.is(code, 0, stdout + stderr)
  const told = JSON.parse(stdout) as Record<string, unknown> & {
    libtorch: { path: string; version: string }
    devices: string[]
    instruction_sets: string[]
  }
  t.is(minorOf(told.libtorch.version), minor)
  t.true(told.libtorch.path.length > 0)
  t.true(told.devices.includes('cpu'))
  t.true((told['threads'] as number) >= 1)
  t.is(typeof told['cpu_capability'], 'string')
  t.deepEqual(told['problems'], [])
  t.is(
    told['cuda'] === null,
    told.devices.some((device) => device.startsWith('cuda'))
  )
})

test('doctor for people says the same', async (t) => {
  const { code, stdout } = await cli(['doctor'])
  t.is(code, 0)
  t.regex(stdout, new RegExp(`libtorch +${minor.replace('.', '\\.')}`))
  t.regex(stdout, /Everything loads\./)
})

test('doctor names the device that the environment says, and one that is not there', async (t) => {
  const of = async (device: string) => await cli(['doctor'], { ...process.env, TORCH_ADAPTERS_DEVICE: device })
  const there = await of('cpu')
  t.is(there.code, 0)
  t.regex(there.stdout, /by default +cpu, which TORCH_ADAPTERS_DEVICE says/)
  const gone = await of('cuda:99')
  t.is(gone.code, 1)
  t.regex(gone.stdout, /Problem: TORCH_ADAPTERS_DEVICE says cuda:99, and there is cpu.* alone: correct it, or unset it/)
  t.regex((await of('gpu')).stdout, /Problem: TORCH_ADAPTERS_DEVICE: expected 'cpu', 'cuda'/)
})

test('a Node that is too old is a problem of its own', (t) => {
  for (const old of ['18.20.4', '20.18.3', '20.9.0']) {
    t.regex(oldNodeReason(old) ?? '', new RegExp(`^this is Node ${old}, and the package needs 20\\.19 or later`))
  }
  for (const good of ['20.19.0', '20.20.1', '22.0.0', '24.1.0']) t.is(oldNodeReason(good), undefined)
})

test('doctor without a libtorch that fits: status 1, the reason, the command', async (t) => {
  const home = temporaryFolder(t)
  writeFakeLibTorch(join(home, 'old'), '2.4.0')
  const env = { ...bareEnvironment(home), LIBTORCH: join(home, 'old') }
  const human = await cli(['doctor'], env)
  t.is(human.code, 1)
  t.regex(human.stdout, /it is libtorch 2\.4\.0/)
  t.regex(human.stdout, /Correct LIBTORCH, or unset it/)
  const json = await cli(['doctor', '--json'], env)
  t.is(json.code, 1)
  t.like(JSON.parse(json.stdout), { libtorch: null, devices: [] })
})

test('install-libtorch leaves a libtorch that fits alone', async (t) => {
  const home = temporaryFolder(t)
  writeFakeLibTorch(join(home, 'here'), `${minor}.5`)
  const { code, stdout } = await cli(['install-libtorch', '--json'], {
    ...bareEnvironment(home),
    LIBTORCH: join(home, 'here')
  })
  t.is(code, 0)
  t.deepEqual(JSON.parse(stdout), { path: join(home, 'here'), version: `${minor}.5`, fetched: false })
})

test('install-libtorch --force looks past it, but not past the cache, and says what it did', async (t) => {
  const home = temporaryFolder(t)
  writeFakeLibTorch(join(home, 'here'), `${minor}.5`)
  const cached = join(home, 'cache', `libtorch-${packageJson.libtorch.version}`, 'torch')
  writeFakeLibTorch(cached, packageJson.libtorch.version)
  const env = { ...bareEnvironment(home), LIBTORCH: join(home, 'here') }
  const json = await cli(['install-libtorch', '--force', '--json'], env)
  t.is(json.code, 0, json.stderr)
  t.deepEqual(JSON.parse(json.stdout), { path: cached, version: packageJson.libtorch.version, fetched: false })
  const { stdout } = await cli(['install-libtorch', '--force'], env)
  t.is(stdout, `libtorch ${packageJson.libtorch.version} is here already: ${cached}\n`)
})

test('wrong use is status 2 with a hint, failures are status 1 without a stack', async (t) => {
  const flag = await cli(['doctor', '--jsn'])
  t.is(flag.code, 2)
  t.regex(flag.stderr, /^torch-adapters doctor: .*--jsn.*--help\n$/)
  const command = await cli(['dcotor'])
  t.is(command.code, 2)
  t.regex(command.stderr, /no command 'dcotor'\. Did you mean 'doctor'\?/)
  const home = temporaryFolder(t)
  const misspelled = await cli(['install-libtorch', '--flie', 'x.zip'])
  t.is(misspelled.code, 2)
  t.regex(misspelled.stderr, /unknown option '--flie' \(did you mean '--file'\?\)/)
  t.is((await cli(['install-libtorch', '--sha256', 'abc'])).code, 2)
  const missing = await cli(['install-libtorch', '--file', join(home, 'none.zip')], bareEnvironment(home))
  t.is(missing.code, 2)
  t.regex(missing.stderr, /^torch-adapters install-libtorch: --file: .*none\.zip does not exist\. See .*\n$/)
  writeFileSync(join(home, 'text.zip'), 'not a zip')
  const file = await cli(['install-libtorch', '--file', join(home, 'text.zip')], bareEnvironment(home))
  t.is(file.code, 1)
  t.regex(
    file.stderr,
    /text\.zip is no archive of libtorch \(expected the official zip of libtorch 2\.13, or a wheel.*\n$/
  )
})

test('help and version', async (t) => {
  const help = await cli(['--help'])
  t.is(help.code, 0, help.stderr)
  for (const name of ['train', 'evaluate', 'predict', 'inspect', 'convert', 'doctor', 'install-libtorch']) {
    t.regex(help.stdout, new RegExp(`^  ${name} +\\S`, 'm'))
  }
  t.is((await cli(['--version'])).stdout.trim(), packageJson.version)
  for (const name of ['doctor', 'install-libtorch']) {
    const { code, stdout } = await cli([name, '--help'])
    t.is(code, 0)
    t.regex(stdout, new RegExp(`^Usage: torch-adapters ${name}`))
  }
})
