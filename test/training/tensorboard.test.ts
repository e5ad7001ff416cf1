import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, type TrainingArguments } from '../../lib/index.js'
import { crc32c } from '../../lib/training/record/crc32c.js'
import { quiet, ready, scratch, tinyRows } from '../model/support.js'

test('CRC-32C has the values of RFC 3720', (t) => {
  t.is(crc32c(new Uint8Array(32)), 0x8a9136aa)
  t.is(crc32c(new Uint8Array(32).fill(255)), 0x62a8ab43)
  t.is(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e)
  t.is(crc32c(Buffer.from('123456789')), 0xe3069283)
})

interface Scalar {
  readonly step: number
  readonly tag: string
  readonly value: number
}

/** One field of a protobuf message: its number, and its bytes or its number. */
function* fieldsOf(data: Buffer): Generator<[field: number, value: number | Buffer]> {
  let at = 0
  const varint = () => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = data[at++] ?? 0
      value += (byte & 127) * shift
      if (byte < 128) return value
    }
  }
  while (at < data.length) {
    const key = varint()
    const field = key >> 3
    const wire = key & 7
    if (wire === 0) yield [field, varint()]
    else {
      const length = wire === 1 ? 8 : wire === 5 ? 4 : varint()
      const bytes = data.subarray(at, at + length)
      at += length
      yield [field, wire === 1 ? bytes.readDoubleLE() : wire === 5 ? bytes.readFloatLE() : bytes]
    }
  }
}

/** What TensorBoard would show of one file after another: a start of a session drops what stands at its step and after. */
function read(folder: string): { versions: string[]; scalars: Scalar[]; times: number[] } {
  const files = readdirSync(folder).filter((name) => name.includes('tfevents'))
  const versions: string[] = []
  const times: number[] = []
  let scalars: Scalar[] = []
  const inOrder = files.sort((a, b) => Number(a.split('.').at(-1)) - Number(b.split('.').at(-1)))
  for (const file of inOrder) {
    const bytes = readFileSync(join(folder, file))
    const masked = (data: Buffer) => {
      const crc = crc32c(data)
      return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
    }
    for (let at = 0; at < bytes.length; ) {
      const length = Number(bytes.readBigUInt64LE(at))
      const data = bytes.subarray(at + 12, at + 12 + length)
      if (bytes.readUInt32LE(at + 8) !== masked(bytes.subarray(at, at + 8))) throw new Error('length')
      if (bytes.readUInt32LE(at + 12 + length) !== masked(data)) throw new Error('data')
      at += 16 + length
      const event = new Map(fieldsOf(data))
      const step = event.get(2) as number
      times.push(event.get(1) as number)
      if (event.has(3)) versions.push(String(event.get(3)))
      if (event.has(7)) scalars = scalars.filter((one) => one.step < step)
      for (const [, value] of event.has(5) ? fieldsOf(event.get(5) as Buffer) : []) {
        const fields = new Map(fieldsOf(value as Buffer))
        scalars.push({ step, tag: String(fields.get(1)), value: fields.get(2) as number })
      }
    }
  }
  return { versions, scalars, times }
}

const rows = tinyRows(20)

test('TensorBoard event files hold the scalars of a run, each once also after it was resumed', async (t) => {
  const outputDir = scratch(t)
  const args: TrainingArguments = {
    ...{ ...quiet, outputDir, maxSteps: 300, perDeviceTrainBatchSize: 4, reportTo: 'tensorboard' },
    ...{ evalStrategy: 'steps', evalSteps: 150, saveStrategy: 'steps', saveSteps: 150 }
  }
  const losses = new Map<number, number>()
  const evaluations = new Map<number, number>()
  let isFirst = true
  for (const resumeFromCheckpoint of [false, true]) {
    const options = {
      model: await ready(t),
      trainDataset: rows,
      evalDataset: rows,
      args: { ...args, resumeFromCheckpoint }
    }
    for await (const event of new AdapterTrainer(options).run()) {
      if (event.type === 'step') losses.set(event.step, event.loss)
      if (event.type === 'evaluate') evaluations.set(event.step, event.metrics['accuracy'] ?? Number.NaN)
      if (isFirst && event.type === 'step' && event.step === 170) break
    }
    isFirst = false
  }
  const { versions, scalars, times } = read(outputDir)
  t.deepEqual(versions, ['brain.Event:2', 'brain.Event:2'])
  t.true(times.every((time) => Math.abs(time - Date.now() / 1000) < 600))
  const of = (tag: string) => scalars.filter((one) => one.tag === tag).map(({ step, value }) => [step, value])
  t.deepEqual(
    of('train/loss'),
    [...losses].map(([step, loss]) => [step, Math.fround(loss)])
  )
  t.deepEqual(
    of('eval/accuracy'),
    [...evaluations].map(([step, value]) => [step, Math.fround(value)])
  )
  t.deepEqual([...new Set(scalars.map(({ tag }) => tag))].sort(), [
    ...['eval/accuracy', 'eval/f1', 'eval/loss', 'eval/macroF1', 'eval/matthews'],
    ...['train/epoch', 'train/grad_norm', 'train/learning_rate', 'train/loss']
  ])
  t.deepEqual(
    readdirSync(outputDir).filter((name) => /jsonl|html/.test(name)),
    []
  )
})
