// What comes from the hub is shown, and ends with a signal: the library tells, the command line draws.
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { withDownloads } from '../../lib/cli/download-progress.js'
import { AutoModel } from '../../lib/index.js'
import { startHub } from '../exchange/hub-server.js'
import { fixtures } from '../parity/support/fixtures.js'
import { command } from './command.js'

const repository = 'someone/a-model'

async function hubOf(t: { teardown(work: () => Promise<void>): void }) {
  const file = (name: string) => readFileSync(join(fixtures, 'models/bert-tiny', name))
  const files = Object.fromEntries(['config.json', 'model.safetensors'].map((name) => [name, file(name)]))
  const hub = await startHub(repository, files)
  process.env['HF_ENDPOINT'] = hub.endpoint
  t.teardown(async () => {
    delete process.env['HF_ENDPOINT']
    await hub.close()
  })
  return { hub, cacheDir: mkdtempSync(join(tmpdir(), 'hub-')) }
}

test.serial('fromPretrained tells of every file, to its last byte', async (t) => {
  const { hub, cacheDir } = await hubOf(t)
  const seen = new Map<string, [received: number, total: number]>()
  const onProgress = (one: { file: string; received: number; total: number }) => {
    seen.set(one.file, [one.received, one.total])
  }
  const model = await AutoModel.fromPretrained(repository, { cacheDir, onProgress })
  model.dispose()
  const size = (hub.files['model.safetensors'] as Buffer).length
  t.deepEqual(seen.get('model.safetensors'), [size, size])
  t.true(seen.has('config.json'))
})

test.serial('what onProgress throws is the caller’s, and what is no function is refused', async (t) => {
  const { cacheDir } = await hubOf(t)
  const boom = new Error('boom')
  const onProgress = () => {
    throw boom
  }
  t.is(await t.throwsAsync(AutoModel.fromPretrained(repository, { cacheDir, onProgress })), boom)
  await t.throwsAsync(AutoModel.fromPretrained(repository, { cacheDir, onProgress: 5 as never }), {
    message: /onProgress: expected a function, got 5/
  })
})

test.serial('an adapter, a head and a fusion tell of theirs, too', async (t) => {
  const folder = join(fixtures, 'folders/bert-seq_bn-safetensors')
  const files = Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]))
  const hub = await startHub(repository, files)
  process.env['HF_ENDPOINT'] = hub.endpoint
  t.teardown(async () => {
    delete process.env['HF_ENDPOINT']
    await hub.close()
  })
  const model = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  t.teardown(() => model.dispose())
  const seen = new Set<string>()
  const onProgress = ({ file }: { file: string }) => seen.add(file)
  await model.loadAdapter(repository, { cacheDir: mkdtempSync(join(tmpdir(), 'hub-')), onProgress })
  t.true(seen.has('adapter.safetensors'))
  for (const load of [
    () => model.loadAdapter(repository, { onProgress: 5 as never }),
    () => model.loadHead(repository, { onProgress: 5 as never }),
    () => model.loadAdapterFusion(repository, { onProgress: 5 as never })
  ]) {
    await t.throwsAsync(load(), { message: /onProgress: expected a function, got 5/ })
  }
})

test.serial('a model that cannot answer alone is refused by its config: no weights are fetched', async (t) => {
  const { hub, cacheDir } = await hubOf(t)
  const rows = join(cacheDir, 'rows.jsonl')
  writeFileSync(rows, '{"input_ids": [5, 6], "label": 0}\n')
  const env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: join(cacheDir, 'hub') }
  for (const [name, data] of [
    ['predict', '--input'],
    ['evaluate', '--data']
  ] as const) {
    const { status, errors } = await command([name, '--model', repository, data, rows], { env })
    t.is(status, 2, errors)
    t.regex(errors, /--adapter is missing: expected an adapter, a --head, or a --model whose folder holds a head/)
  }
  t.true(hub.requests.some((request) => request.endsWith('/config.json')))
  t.false(hub.requests.some((request) => request.includes('model.safetensors')))
})

test.serial('a signal ends a download in which nothing comes', async (t) => {
  const { hub, cacheDir } = await hubOf(t)
  hub.isSilent = true
  const controller = new AbortController()
  const loading = AutoModel.fromPretrained(repository, { cacheDir, signal: controller.signal })
  controller.abort(new Error('enough'))
  await t.throwsAsync(loading, { message: 'enough' })
})

test.serial('where nobody looks, each large file is a line', async (t) => {
  const lines: string[] = []
  const { write } = process.stderr
  process.stderr.write = ((text: string) => lines.push(text) > 0) as typeof write
  try {
    await withDownloads(async (onProgress) => {
      onProgress({ file: 'config.json', received: 600, total: 600 })
      for (const received of [1e6, 2e6, 4e8]) onProgress({ file: 'model.safetensors', received, total: 4e8 })
      onProgress({ file: 'more.bin', received: 2e6, total: 2e6 })
    })
  } finally {
    process.stderr.write = write
  }
  // A terminal has a bar.
  const shown = process.stderr.isTTY ? [] : ['fetching model.safetensors (400 MB)\n', 'fetching more.bin (2 MB)\n']
  t.deepEqual(
    lines.filter((line) => line.startsWith('fetching')),
    shown
  )
})
