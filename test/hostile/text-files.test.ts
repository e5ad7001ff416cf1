import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AdapterConfig } from '../../lib/config/adapter-config.js'
import { compositionFromJson } from '../../lib/config/composition.js'
import { modelConfigFromJson } from '../../lib/config/model-config.js'
import { parseJsonObject } from '../../lib/config/read-json.js'
import { Random } from '../../lib/data/random.js'
import { readRows } from '../../lib/data/read-rows.js'
import { TextTokenizer } from '../../lib/data/tokenizer.js'
import { readAdapterFolder } from '../../lib/exchange/adapter-folder.js'
import { mutate } from './mutate.js'

/** Damaged input is read, or refused with a code and a sentence, and never takes long. */
async function survives(t: ExecutionContext, text: string, read: () => unknown): Promise<boolean> {
  const start = process.cpuUsage()
  let refused = false
  try {
    await read()
  } catch (error) {
    refused = true
    const { code, message } = error as Error & { code?: unknown }
    if (typeof code !== 'string' || message.length > 2000) t.log(text.slice(0, 2000))
    t.true(
      error instanceof Error && typeof code === 'string' && code.startsWith('ERR_'),
      String((error as Error).stack)
    )
    t.true(message.length < 2000, message)
  }
  t.true(process.cpuUsage(start).user < 2_000_000, 'it took more than two seconds of computing')
  return refused
}

async function fuzz(t: ExecutionContext, seed: number, rounds: number, text: string, read: (text: string) => unknown) {
  const random = Random.fromSeed(seed)
  let refused = 0
  for (let i = 0; i < rounds; i++) {
    const damaged = mutate(text, random)
    refused += Number(await survives(t, damaged, () => read(damaged)))
  }
  // Else the damage would not reach the checks.
  t.true(refused > rounds / 10, `${refused} of ${rounds} were refused`)
}

const folders = 'test/parity/fixtures/folders'

for (const [file, seed] of [
  ['adapter_config.json', 1],
  ['head_config.json', 2]
] as const) {
  test.serial(`700 damaged ${file}`, async (t) => {
    const copy = mkdtempSync(join(tmpdir(), 'hostile-'))
    cpSync(join(folders, 'bert-seq_bn-bin'), copy, { recursive: true })
    const whole = readFileSync(join(copy, file), 'utf8')
    await fuzz(t, seed, 700, whole, (text) => {
      writeFileSync(join(copy, file), text)
      return readAdapterFolder(copy)
    })
  })
}

test.serial('700 damaged config.json', async (t) => {
  const whole = readFileSync('test/parity/fixtures/models/roberta-tiny/config.json', 'utf8')
  await fuzz(t, 3, 700, whole, (text) => modelConfigFromJson(parseJsonObject(text, 'config.json', 'read')))
})

test.serial('1000 damaged shorthands', async (t) => {
  const whole =
    "seq_bn[reduction_factor={'0': 8, 'default': 16}, leave_out=[11], dropout=0.1]|attn_bn[scaling='learned']"
  await fuzz(t, 4, 1000, whole, (text) => AdapterConfig.load(text))
})

test.serial('300 damaged setups', async (t) => {
  const single = (name: string) => ({ type: 'single', children: [name] })
  const split = { type: 'Split', children: [single('b'), single('c')], kwargs: { splits: [1, 2] } }
  const whole = JSON.stringify({ type: 'Stack', children: [single('a'), split] })
  await fuzz(t, 5, 300, whole, (text) => compositionFromJson(parseJsonObject(text, 'adapter_setup.json', 'read')))
})

for (const [name, seed] of [
  ['bert', 6],
  ['roberta', 7],
  ['xlm-roberta', 8]
] as const) {
  test.serial(`400 damaged tokenizer.json of ${name}`, async (t) => {
    const copy = mkdtempSync(join(tmpdir(), 'hostile-'))
    cpSync(join('test/data/fixtures/tokenizers', name), copy, { recursive: true })
    const file = join(copy, 'tokenizer.json')
    await fuzz(t, seed, 400, readFileSync(file, 'utf8'), (text) => {
      writeFileSync(file, text)
      const tokenizer = TextTokenizer.fromFolder(copy)
      tokenizer.encode('a small furry animal', 'that lives in trees', { maxLength: 16 })
      return tokenizer.encodeWords(['counts', 'them', '1,234'])
    })
  })
}

for (const [extension, seed, whole] of [
  [
    '.jsonl',
    9,
    '{"text":"a small animal","label":"a"}\n{"input_ids":[1,2,3],"label":1}\n{"words":["a","b"],"labels":[0,1]}\n'
  ],
  ['.csv', 10, 'text,text_pair,label\n"a ""small"" animal",that,1\nb,,2\n']
] as const) {
  test.serial(`300 damaged ${extension} files of rows`, async (t) => {
    const file = join(mkdtempSync(join(tmpdir(), 'hostile-')), `rows${extension}`)
    await fuzz(t, seed, 300, whole, async (text) => {
      writeFileSync(file, text)
      for await (const row of readRows(file)) t.truthy(row)
    })
  })
}
