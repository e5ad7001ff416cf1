// Our side, through the public API alone. Threads come from OMP_NUM_THREADS, which the driver sets.
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AdapterTrainer, AutoModel, setNumThreads } from '../../dist/lib/index.js'

const manySteps = 1_000_000

export const loadLibrary = () => setNumThreads(Number(process.env.OMP_NUM_THREADS))

export class Bench {
  #model
  #batches
  #events

  /** `kind` 'step' trains; 'forward' answers. */
  static async open({ model, adapter, kind, batches }) {
    const bench = new Bench()
    bench.#model = await AutoModel.fromPretrained(model)
    bench.#batches = batches
    await bench.#model.loadAdapter(adapter)
    bench.#model.setActiveAdapters('bench')
    if (kind === 'step') bench.#train()
    return bench
  }

  // A trainer gives one event a step and goes on when it is asked for the next, so that a pass is timed from outside.
  #train() {
    this.#model.trainAdapter('bench')
    const trainDataset = this.#batches.flatMap(({ inputIds, labels }) =>
      inputIds.map((ids, i) => ({ inputIds: ids, label: labels[i] }))
    )
    const args = {
      outputDir: join(tmpdir(), 'torch-adapters-bench'),
      perDeviceTrainBatchSize: this.#batches[0].inputIds.length,
      maxSteps: manySteps,
      loggingSteps: 1,
      shuffle: false,
      saveStrategy: 'no',
      learningRate: 1e-4,
      weightDecay: 0.01,
      maxGradNorm: 1
    }
    this.#events = new AdapterTrainer({ model: this.#model, trainDataset, args }).run()[Symbol.asyncIterator]()
  }

  /** All batches once. */
  async pass() {
    for (const { inputIds } of this.#batches) {
      if (this.#events) await this.#step()
      else await this.#model.forward({ inputIds })
    }
  }

  async #step() {
    for (;;) {
      const { value, done } = await this.#events.next()
      if (done) throw new Error('the trainer ended early')
      if (value.type === 'log') return
    }
  }

  async logits() {
    const { logits } = await this.#model.forward({ inputIds: this.#batches[0].inputIds })
    const [rows, labels] = logits.shape
    return Array.from({ length: rows }, (_, row) => [...logits.data.subarray(row * labels, (row + 1) * labels)])
  }

  async close() {
    await this.#events?.return?.()
    this.#model.dispose()
  }
}
