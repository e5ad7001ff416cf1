import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type HubOptions, resolveFolder } from '../../lib/exchange/hub.js'
import { matchesHash } from '../../lib/exchange/hub-cache.js'
import { selectFiles } from '../../lib/exchange/hub-files.js'
import { hubToken, isOffline } from '../../lib/exchange/hub-settings.js'
import { type HubServer, startHub } from './hub-server.js'

const repository = 'someone/an-adapter'
const weights = randomBytes(200_000)
const files = {
  'adapter_config.json': Buffer.from('{"name": "sst2"}'),
  'pytorch_adapter.bin': weights,
  'README.md': Buffer.from('# not needed'),
  'tf_adapter.h5': randomBytes(2000)
}

interface Place {
  readonly hub: HubServer
  readonly cacheDir: string
  readonly options: HubOptions
  downloads(): string[]
}

async function place(content: Record<string, Buffer> = files): Promise<Place> {
  const hub = await startHub(repository, { ...content })
  const cacheDir = mkdtempSync(join(tmpdir(), 'hub-'))
  const downloads = () =>
    hub.requests.filter((request) => request.includes('/resolve/') && !request.endsWith('bytes=0-0'))
  return { hub, cacheDir, options: { endpoint: hub.endpoint, cacheDir, token: 'hf_test', offline: false }, downloads }
}

test('a folder is used as it is', async (t) => {
  t.is(await resolveFolder('lib', 'adapter'), 'lib')
})

test('only the files that are read are fetched, once, into the layout of the shared cache', async (t) => {
  const { hub, cacheDir, options, downloads } = await place()
  const seen: number[] = []
  const onProgress = ({ received }: { received: number }) => seen.push(received)
  const folder = await resolveFolder(repository, 'adapter', { ...options, onProgress })
  t.is(folder, join(cacheDir, 'models--someone--an-adapter', 'snapshots', hub.commit))
  t.deepEqual(readdirSync(folder).sort(), ['adapter_config.json', 'pytorch_adapter.bin'])
  t.deepEqual(readFileSync(join(folder, 'pytorch_adapter.bin')), weights)
  t.is(readFileSync(join(cacheDir, 'models--someone--an-adapter', 'refs', 'main'), 'utf8'), hub.commit)
  t.is(seen.at(-1), weights.length)
  t.is(downloads().length, 2)
  t.is(await resolveFolder(repository, 'adapter', options), folder)
  t.is(downloads().length, 2)
  const blobs = readdirSync(join(cacheDir, 'models--someone--an-adapter', 'blobs'))
  t.true(blobs.every((name) => /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(name)))
  await hub.close()
})

test('safetensors is preferred, shards come together', (t) => {
  const listed = (...names: string[]) => names.map((path) => ({ path, size: 1, hash: '' }))
  const chosen = (...names: string[]) => selectFiles(listed('config.json', ...names), 'model').map(({ path }) => path)
  t.deepEqual(chosen('model.safetensors', 'pytorch_model.bin', 'flax_model.msgpack'), [
    'config.json',
    'model.safetensors'
  ])
  const shards = [
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'model.safetensors.index.json'
  ]
  t.deepEqual(chosen(...shards, 'pytorch_model.bin', 'onnx/model.onnx'), ['config.json', ...shards])
  t.deepEqual(chosen('pytorch_model.bin', 'vocab.txt'), ['config.json', 'pytorch_model.bin', 'vocab.txt'])
  t.throws(() => selectFiles(listed('README.md'), 'model'), { code: 'ERR_HUB_NOT_FOUND', message: /holds no model/ })
})

test('a cut connection goes on where it stopped', async (t) => {
  const { hub, options, downloads } = await place({
    'adapter.safetensors': weights,
    'adapter_config.json': Buffer.from('{}')
  })
  hub.faults.push('cut', 'busy', 'cut')
  const folder = await resolveFolder(repository, 'adapter', options)
  t.deepEqual(readFileSync(join(folder, 'adapter.safetensors')), weights)
  const [first, second, third, fourth] = downloads().map((request) => Number(/bytes=(\d+)-/.exec(request)?.[1] ?? 0))
  t.is(first, 0)
  t.true((second ?? 0) > 0)
  // The server was busy, so nothing came and the place is the same.
  t.is(third, second)
  t.true((fourth ?? 0) > (third ?? 0))
  await hub.close()
})

test('a file that the hub offers by Xet comes as a stream all the same, and goes on where it was cut', async (t) => {
  const { hub, options, downloads } = await place()
  hub.offersXet = true
  hub.faults.push('cut')
  const folder = await resolveFolder(repository, 'adapter', options)
  t.deepEqual(readFileSync(join(folder, 'pytorch_adapter.bin')), weights)
  t.false(hub.requests.some((request) => request.includes('/xet/')))
  t.true(downloads().some((request) => /bytes=[1-9]\d*-/.test(request)))
  await hub.close()
})

test('what an earlier process left half done is picked up; a server that knows no ranges is survived', async (t) => {
  const { hub, cacheDir, options, downloads } = await place()
  const folder = await resolveFolder(repository, 'adapter', options)
  const blobs = join(cacheDir, 'models--someone--an-adapter', 'blobs')
  const blob = join(blobs, readdirSync(blobs).find((name) => name.length === 64) as string)
  const leaveHalf = () => {
    rmSync(join(folder, 'pytorch_adapter.bin'))
    rmSync(blob)
    writeFileSync(`${blob}.incomplete`, weights.subarray(0, 150_000))
    hub.requests.length = 0
  }
  leaveHalf()
  await resolveFolder(repository, 'adapter', options)
  t.deepEqual(readFileSync(join(folder, 'pytorch_adapter.bin')), weights)
  t.regex(downloads().join(), /bytes=150000-199999/)
  leaveHalf()
  hub.faults.push('ignore range')
  await t.throwsAsync(resolveFolder(repository, 'adapter', options), {
    code: 'ERR_DOWNLOAD',
    message: /arrived damaged/
  })
  await resolveFolder(repository, 'adapter', options)
  t.deepEqual(readFileSync(join(folder, 'pytorch_adapter.bin')), weights)
  await hub.close()
})

test('damaged content is never kept', async (t) => {
  const { hub, cacheDir, options } = await place()
  hub.faults.push('damage')
  await t.throwsAsync(resolveFolder(repository, 'adapter', options), {
    code: 'ERR_DOWNLOAD',
    message: /adapter_config\.json arrived damaged .*hash [0-9a-f]{40}/
  })
  const folder = join(cacheDir, 'models--someone--an-adapter')
  t.deepEqual(readdirSync(join(folder, 'blobs')), [])
  t.false(existsSync(join(folder, 'refs')))
  await hub.close()
})

test('two at once fetch each file once', async (t) => {
  const { hub, options, downloads } = await place()
  const folders = await Promise.all([1, 2, 3].map(() => resolveFolder(repository, 'adapter', options)))
  t.is(new Set(folders).size, 1)
  t.is(downloads().length, 2)
  await hub.close()
})

test('answers of the hub become sentences', async (t) => {
  const { hub, options } = await place()
  await t.throwsAsync(resolveFolder('someone/else', 'adapter', options), {
    code: 'ERR_HUB_NOT_FOUND',
    message: /no repository 'someone\/else' .*status 404.*no folder of that name/
  })
  await t.throwsAsync(resolveFolder(repository, 'adapter', { ...options, revision: 'v9' }), {
    message: /at revision 'v9'/
  })
  await t.throwsAsync(resolveFolder(repository, 'model', options), { message: /holds no model .*config\.json/ })
  hub.requiredToken = 'hf_right'
  await t.throwsAsync(resolveFolder(repository, 'adapter', options), {
    code: 'ERR_HUB_ACCESS',
    message: /may not read 'someone\/an-adapter' .*status 403.*HF_TOKEN/
  })
  // Gated: everybody may see the list, and nobody the files without a token.
  hub.isGated = true
  for (const [status, problem] of [
    [401, "'someone/an-adapter' is not for everybody, and no token is set"],
    [403, "'someone/an-adapter' is not for everybody, and no token is set"]
  ] as const) {
    hub.withoutToken = status
    const open = { ...options, token: '' }
    const error = await t.throwsAsync(resolveFolder(repository, 'adapter', open), { code: 'ERR_HUB_ACCESS' })
    t.true(error?.message.includes(`${problem} (got status ${status}`), error?.message)
    t.regex(error?.message ?? '', /Ask for access on its page, and set HF_TOKEN/)
  }
  t.truthy(await resolveFolder(repository, 'adapter', { ...options, token: 'hf_right' }))
  await hub.close()
})

test('sources and revisions that cannot be', async (t) => {
  for (const source of ['./nothing', '/nothing/here', '~/x', 'a/b/c', 'a..b', 'package.json']) {
    await t.throwsAsync(resolveFolder(source, 'model'), { code: 'ERR_FILE_NOT_FOUND' }, source)
  }
  await t.throwsAsync(resolveFolder('', 'model'), { instanceOf: RangeError })
  await t.throwsAsync(resolveFolder('a/b', 'model', { revision: '../../x', offline: true }), { message: /revision/ })
})

test('a folder that is not there: the near names of its parent', async (t) => {
  const parent = mkdtempSync(join(tmpdir(), 'near-'))
  for (const name of ['bert-mini', 'bert-mine', 'other']) mkdirSync(join(parent, name))
  writeFileSync(join(parent, 'bert-min'), 'a file')
  const near = (source: string, options: HubOptions = {}) => resolveFolder(source, 'model', options)
  await t.throwsAsync(near(join(parent, 'bert-mni')), {
    code: 'ERR_FILE_NOT_FOUND',
    message: /bert-mni does not exist .* Did you mean '.*bert-mini' or '.*bert-mine'\?$/
  })
  await t.throwsAsync(near(join(parent, 'nothing-near', 'x')), {
    message: /There is no folder .*nothing-near either\.$/
  })
  // An earlier part of the path, where the whole is there then; no folder of another name than what is missing.
  mkdirSync(join(parent, 'other', 'deep'))
  await t.throwsAsync(near(join(parent, 'othr', 'deep')), { message: /Did you mean '[^']*\/other\/deep'\?$/ })
  await t.throwsAsync(near(join(parent, 'othr', 'no')), { message: /There is no folder [^ ]*\/othr either\.$/ })
  await t.throwsAsync(near(`${parent}/nosuch/../bert-mni`), { message: /There is no folder [^ ]*\/nosuch either\.$/ })
  await t.throwsAsync(near('~/bert-mini'), { message: /'~' is not replaced here/ })
  await t.throwsAsync(near('./models\\wordnet'), { code: 'ERR_FILE_NOT_FOUND' })
  // Like a hub id, but more likely a folder of this repository.
  await t.throwsAsync(near('models/wordnet-bert-min', { offline: true }), {
    code: 'ERR_OFFLINE',
    message: /neither a folder.*Did you mean 'models\/wordnet-bert-mini'\?/
  })
  const unreachable = { endpoint: 'http://127.0.0.1:1', cacheDir: parent }
  await t.throwsAsync(near('models/wordnet-bert-min', unreachable), {
    code: 'ERR_NETWORK',
    message:
      /no folder 'models\/wordnet-bert-min' here, and http:.* cannot be reached: .* Did you mean 'models\/wordnet-bert-mini'\?/
  })
  await t.throwsAsync(near('someone/something', unreachable), {
    code: 'ERR_NETWORK',
    message:
      /no folder 'someone\/something' here, and .* cannot be reached: .*Check the spelling\. For a hub id, check the network/
  })
})

test('an abort ends the download', async (t) => {
  const { hub, options } = await place()
  const controller = new AbortController()
  const onProgress = () => controller.abort(new Error('enough'))
  const run = resolveFolder(repository, 'adapter', { ...options, signal: controller.signal, onProgress })
  await t.throwsAsync(run, { message: 'enough' })
  await hub.close()
})

test('without a network, or with a hub that fails, the cache serves, and says so', async (t) => {
  const { hub, options } = await place()
  const folder = await resolveFolder(repository, 'adapter', options)
  t.is(await resolveFolder(repository, 'adapter', { ...options, offline: true }), folder)
  const warnings: string[] = []
  process.on('warning', (warning) => {
    if ('code' in warning && warning.code === 'TORCH_ADAPTERS_CACHED') warnings.push(warning.message)
  })
  const serves = async (reason: RegExp) => {
    t.is(await resolveFolder(repository, 'adapter', options), folder)
    await new Promise((resolve) => setImmediate(resolve))
    t.regex(warnings.at(-1) ?? '', reason)
  }
  const elsewhere = { ...options, cacheDir: mkdtempSync(join(tmpdir(), 'hub-')) }
  // What is no hub: the page of a network that wants a login.
  hub.isPage = true
  await serves(/^fetch from the hub: http:\S+ does not answer as a hub does\. Using the copy in/)
  await t.throwsAsync(resolveFolder(repository, 'adapter', elsewhere), {
    code: 'ERR_HUB',
    message: /does not answer as a hub does: .*Check HF_ENDPOINT, and whether a proxy or a login page/
  })
  hub.isPage = false
  Object.assign(hub, { requiredToken: 'none', isGated: false, withoutToken: 503 })
  t.is(await resolveFolder(repository, 'adapter', { ...options, token: '' }), folder)
  await t.throwsAsync(resolveFolder(repository, 'adapter', { ...elsewhere, token: '' }), {
    code: 'ERR_HUB',
    message: /could not serve .*status 503/
  })
  await hub.close()
  await serves(/^fetch from the hub: http:\S+ cannot be reached \([A-Z_]+ .*\)\. Using the copy/)
  rmSync(join(folder, 'pytorch_adapter.bin'))
  await t.throwsAsync(resolveFolder(repository, 'adapter', { ...options, offline: true }), { code: 'ERR_OFFLINE' })
  await t.throwsAsync(resolveFolder(repository, 'adapter', options), {
    code: 'ERR_NETWORK',
    message: /HF_HUB_OFFLINE=1/
  })
})

test('hashes: SHA-256 of large files, git blobs of small ones', async (t) => {
  const file = join(mkdtempSync(join(tmpdir(), 'hub-')), 'file')
  writeFileSync(file, 'hello\n')
  // git hash-object, sha256sum
  t.true(await matchesHash(file, 'ce013625030ba8dba906f756967f9e9ca394464a'))
  t.true(await matchesHash(file, '5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03'))
  t.false(await matchesHash(file, 'ce013625030ba8dba906f756967f9e9ca394464b'))
})

test.serial('a server that says nothing, or stops in the middle, is not waited for without end', async (t) => {
  const { hub, options } = await place()
  process.env['HF_HUB_ETAG_TIMEOUT'] = '2'
  process.env['HF_HUB_DOWNLOAD_TIMEOUT'] = '2'
  t.teardown(() => {
    delete process.env['HF_HUB_ETAG_TIMEOUT']
    delete process.env['HF_HUB_DOWNLOAD_TIMEOUT']
  })
  hub.isSilent = true
  await t.throwsAsync(resolveFolder(repository, 'adapter', options), {
    code: 'ERR_NETWORK',
    message: /cannot be reached: ETIMEDOUT nothing came for 2 seconds/
  })
  hub.isSilent = false
  hub.faults.push('stall', 'stall', 'stall', 'stall')
  await t.throwsAsync(
    resolveFolder(repository, 'adapter', { ...options, cacheDir: mkdtempSync(join(tmpdir(), 'hub-')) }),
    {
      code: 'ERR_NETWORK',
      message: /^fetch from the hub: http:\S+ stopped serving 'someone\/an-adapter': ETIMEDOUT .*goes on from there/
    }
  )
  hub.faults.push('stall')
  const folder = await resolveFolder(repository, 'adapter', options)
  t.deepEqual(readFileSync(join(folder, 'pytorch_adapter.bin')), weights)
  await hub.close()
})

test.serial('the environment of Hugging Face counts', (t) => {
  const before = { ...process.env }
  const home = mkdtempSync(join(tmpdir(), 'hub-'))
  for (const name of [
    'HF_TOKEN',
    'HUGGING_FACE_HUB_TOKEN',
    'HF_TOKEN_PATH',
    'HF_HUB_OFFLINE',
    'HF_HUB_DISABLE_IMPLICIT_TOKEN',
    'TRANSFORMERS_OFFLINE'
  ]) {
    delete process.env[name]
  }
  process.env['HF_HOME'] = home
  t.is(hubToken(), undefined)
  t.false(isOffline())
  mkdirSync(home, { recursive: true })
  writeFileSync(join(home, 'token'), 'hf_file\n')
  t.is(hubToken(), 'hf_file')
  process.env['HF_TOKEN'] = 'hf_given'
  t.is(hubToken(), 'hf_given')
  process.env['HF_HUB_DISABLE_IMPLICIT_TOKEN'] = '1'
  t.is(hubToken(), undefined)
  process.env['HF_HUB_OFFLINE'] = '1'
  t.true(isOffline())
  process.env = before
})

test('an adapter of PEFT comes with its weights, and is whole without the hub', async (t) => {
  for (const name of ['adapter_model.safetensors', 'adapter_model.bin']) {
    const { hub, options } = await place({
      'adapter_config.json': Buffer.from('{"peft_type": "LORA"}'),
      [name]: weights
    })
    const folder = await resolveFolder(repository, 'adapter', options)
    t.deepEqual(readdirSync(folder).sort(), ['adapter_config.json', name])
    t.is(await resolveFolder(repository, 'adapter', { ...options, offline: true }), folder)
    await hub.close()
  }
})
