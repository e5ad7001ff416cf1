import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Random } from '../../lib/data/random.js'
import { AutoModel } from '../../lib/index.js'
import { mutate } from './mutate.js'

// Loads damaged folders one after the other in this process and tells what came of it: a crash ends the process, a hang is
// seen by whoever waits for it.

const [, , roundsText = '150', seedText = '1'] = process.argv
const random = Random.fromSeed(Number(seedText))
const place = mkdtempSync(join(tmpdir(), 'hostile-'))

interface Source {
  readonly folder: string
  readonly load: (folder: string) => Promise<unknown>
}

const fixtures = 'test/parity/fixtures'
const bert = await AutoModel.fromPretrained(`${fixtures}/models/bert-tiny`)

/** What loads must also run: wrong sizes that slip through would show here. */
async function wholeModel(folder: string): Promise<void> {
  const model = await AutoModel.fromPretrained(folder)
  try {
    if (model.tokenizer !== undefined) model.tokenizer.encode('a small furry animal', undefined, { maxLength: 8 })
    await model.forward({ inputIds: [[1], [1, 0]] })
  } finally {
    model.dispose()
  }
}

async function adapter(folder: string): Promise<void> {
  const name = await bert.loadAdapter(folder, { as: 'x' })
  try {
    const head = bert.heads.has(name) ? name : null
    await bert.forward({ inputIds: [[1], [1, 2]] }, { adapters: name, head })
  } finally {
    bert.deleteAdapter(name)
    if (bert.heads.has(name)) bert.deleteHead(name)
  }
}

const sources: Source[] = [
  { folder: `${fixtures}/models/bert-tiny`, load: wholeModel },
  { folder: `${fixtures}/models/bert-bin`, load: wholeModel },
  { folder: `${fixtures}/models/bert-sharded`, load: wholeModel },
  { folder: `${fixtures}/folders/bert-seq_bn-bin`, load: adapter },
  { folder: `${fixtures}/folders/bert-seq_bn-safetensors`, load: adapter },
  { folder: `${fixtures}/folders/bert-learned-gate`, load: adapter },
  { folder: `${fixtures}/folders/bert-static-head`, load: adapter }
]

/** A model with a tokenizer beside its weights. */
function withTokenizer(): Source {
  const folder = join(place, 'with-tokenizer')
  cpSync(`${fixtures}/models/bert-tiny`, folder, { recursive: true })
  cpSync('test/data/fixtures/tokenizers/bert', folder, { recursive: true })
  return { folder, load: wholeModel }
}

/** Bytes changed, cut off, left out or doubled; mostly near the start, where lengths and offsets stand. */
function mutateBytes(whole: Buffer): Buffer {
  const result = Buffer.from(whole)
  const near = random.nextBelow(3) === 0 ? whole.length : Math.min(whole.length, 4096)
  const at = random.nextBelow(Math.max(1, near))
  switch (random.nextBelow(5)) {
    case 0:
      return result.subarray(0, at)
    case 1: {
      for (let i = 0; i <= random.nextBelow(8); i++) result[random.nextBelow(near)] = random.nextBelow(256)
      return result
    }
    case 2:
      return Buffer.concat([result.subarray(0, at), result.subarray(at + 1 + random.nextBelow(64))])
    case 3:
      return Buffer.concat([result.subarray(0, at), result.subarray(at, at + 64), result.subarray(at)])
    default:
      return result.fill(random.nextBelow(2) * 255, at, Math.min(result.length, at + 1 + random.nextBelow(16)))
  }
}

function damage(file: string): void {
  const whole = readFileSync(file)
  writeFileSync(file, file.endsWith('.json') ? mutate(whole.toString(), random) : damagedBytes(whole))
}

/** The end of a zip holds its directory: damage there, too. */
function damagedBytes(whole: Buffer): Buffer {
  if (random.nextBelow(3) > 0 || whole.length < 4096) return mutateBytes(whole)
  const tail = whole.length - 4096
  return Buffer.concat([whole.subarray(0, tail), mutateBytes(whole.subarray(tail))])
}

const rounds = Number(roundsText)
const outcome = { loaded: 0, refused: 0, unclear: [] as string[], slowest: 0, residentGrowth: 0 }
const all = [...sources, withTokenizer()]
const resident = process.memoryUsage.rss()
for (let round = 0; round < rounds; round++) {
  const { folder, load } = all[round % all.length] as Source
  const copy = join(place, 'damaged')
  cpSync(folder, copy, { recursive: true })
  const files = readdirSync(copy).filter((name) => /\.(json|safetensors|bin|txt)$/.test(name))
  const file = files[random.nextBelow(files.length)] ?? ''
  damage(join(copy, file))
  const start = performance.now()
  try {
    await load(copy)
    outcome.loaded++
  } catch (error) {
    outcome.refused++
    const { code, message } = error as Error & { code?: unknown }
    const clear = error instanceof Error && typeof code === 'string' && code.startsWith('ERR_') && message.length < 2000
    if (!clear || /\.(cc|cpp|h):\d|c10::|at::/.test(message)) {
      outcome.unclear.push(
        `round ${round}, ${folder}/${file}: ${String((error as Error)?.stack ?? error).slice(0, 600)}`
      )
    }
  }
  outcome.slowest = Math.max(outcome.slowest, performance.now() - start)
  rmSync(copy, { recursive: true })
}
outcome.residentGrowth = process.memoryUsage.rss() - resident

// The process is as good as before.
await wholeModel(`${fixtures}/models/bert-tiny`)
await adapter(`${fixtures}/folders/bert-seq_bn-safetensors`)
rmSync(place, { recursive: true })
console.log(JSON.stringify(outcome))
