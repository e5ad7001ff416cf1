import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, AutoModel } from '../../lib/index.js'
import { quiet, scratch } from '../model/support.js'
import { ExportedGroup } from '../parity/support/exported.js'
import { fixtures } from '../parity/support/fixtures.js'
import { rowsOf } from './case-rows.js'
import { changeArchive } from './changed-archive.js'
import { distance } from './support.js'
import { setTrained, trainingOf } from './training-case.js'

const losses = JSON.parse(readFileSync(join(fixtures, 'exported', 'trainer.json'), 'utf8')) as {
  [name: string]: number[]
}

/** The archive with rates of dropout of 0 in the place of 0.1, which is what the losses are of. */
function withoutDropout(archive: string, folder: string): string {
  const file = join(folder, 'model.pt2')
  changeArchive(archive, file, (text) => text.replace(/("as_float": |"\w*drop\w*": )0\.1(?=[},])/g, '$10.0'))
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
