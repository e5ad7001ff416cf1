import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import test from 'ava'
import { AdapterTrainer, AutoModel } from '../../lib/index.js'
import { quiet, scratch } from '../model/support.js'
import { ExportedGroup } from '../parity/support/exported.js'
import { fixtures } from '../parity/support/fixtures.js'
import { rowsOf } from './case-rows.js'
import { distance } from './support.js'
import { setTrained, trainingOf } from './training-case.js'

const losses = JSON.parse(readFileSync(join(fixtures, 'exported', 'trainer.json'), 'utf8')) as {
  [name: string]: number[]
}

/** The archive with rates of dropout of 0 in the place of 0.1, which is what the losses are of: as many bytes, and their sum. */
function withoutDropout(archive: string, folder: string): string {
  const bytes = Buffer.from(readFileSync(archive))
  const changed = Buffer.from(
    bytes.toString('latin1').replace(/("as_float": |"\w*drop\w*": )0\.1(?=[},])/g, '$10.0'),
    'latin1'
  )
  // The sizes stay: only checksums differ, in each entry's own header and in the directory.
  for (
    let at = changed.indexOf('PK\x01\x02', 0, 'latin1');
    at >= 0;
    at = changed.indexOf('PK\x01\x02', at + 4, 'latin1')
  ) {
    const [size, name, start] = [
      changed.readUInt32LE(at + 20),
      changed.readUInt16LE(at + 28),
      changed.readUInt32LE(at + 42)
    ]
    const body = start + 30 + changed.readUInt16LE(start + 26) + changed.readUInt16LE(start + 28)
    if (name === 0 || body + size > at) continue
    const sum = crc32(changed.subarray(body, body + size))
    changed.writeUInt32LE(sum, at + 16)
    changed.writeUInt32LE(sum, start + 14)
  }
  const file = join(folder, 'model.pt2')
  writeFileSync(file, changed)
  return file
}

for (const [name, expected] of Object.entries(losses)) {
  test(`${name}: twenty steps of AdapterTrainer are those of PyTorch`, async (t) => {
    const group = await ExportedGroup.read(name)
    const model = await AutoModel.fromExported(withoutDropout(group.archive, scratch(t)))
    t.teardown(() => model.dispose())
    setTrained(model, group)
    const { learningRate = 0, weightDecay = 0 } = trainingOf(group).args ?? {}
    const trainer = new AdapterTrainer({
      model,
      trainDataset: rowsOf(group),
      args: {
        ...quiet,
        ...{ learningRate, weightDecay, maxSteps: 20, perDeviceTrainBatchSize: 3 },
        ...{ lrSchedulerType: 'constant', maxGradNorm: 0 }
      }
    })
    const seen: number[] = []
    for await (const event of trainer.run()) if (event.type === 'step') seen.push(event.loss)
    const away = distance(seen, { data: Float32Array.from(expected) })
    t.true(away < 1e-6, `${away}`)
  })
}
