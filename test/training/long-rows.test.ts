import { setImmediate } from 'node:timers'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { EncodedDataset } from '../../lib/training/encoded.js'

const encoder = 'models/wordnet-bert-mini'

/** How often the event loop came round while the work went on. */
async function turns(work: () => Promise<unknown>): Promise<number> {
  let count = 0
  let goesOn = true
  const turn = () => {
    count++
    if (goesOn) setImmediate(turn)
  }
  setImmediate(turn)
  await work()
  goesOn = false
  return count
}

/** Texts are not cut at tabulators, so that each row is milliseconds of work. */
const rows = Array.from({ length: 24 }, (_, i) => ({
  text: `${i}\tlarge\tstriped\tcat\t`.repeat(2000),
  label: i % 2
}))

test('the event loop comes round while long rows are tokenized', async (t) => {
  const model = await AutoModel.fromPretrained(encoder, { seed: 1 })
  t.teardown(() => model.dispose())
  model.addClassificationHead('a', { numLabels: 2 })
  model.activeHead = 'a'
  const data = await EncodedDataset.of(rows, model, 'rows')
  const all = [...rows.keys()]
  t.true((await turns(() => data.batch(all))) >= 5)
  // Refused when all before it are encoded: what is counted came round before anything passed through the core.
  const wrong = { inputIds: [1e6] }
  const predict = () => t.throwsAsync(model.predict([...rows, wrong], { batchSize: 25 }), { message: /^rows\[24\]/ })
  t.true((await turns(predict)) >= 5)
})
