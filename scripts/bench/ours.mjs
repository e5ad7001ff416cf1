// Our side, through the public API alone. Threads come from OMP_NUM_THREADS, which the driver sets.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AdapterTrainer, AutoModel, Fuse, Parallel, setNumThreads } from '../../dist/lib/index.js'

const manySteps = 1_000_000

export const loadLibrary = () => setNumThreads(Number(process.env.OMP_NUM_THREADS))

export class Bench {
  #model
  #batches
  #events
  #adapters
  #names
  #scratch = mkdtempSync(join(tmpdir(), 'torch-adapters-bench-'))

  /** `kind` 'step' trains; 'forward' answers. `setup`: several adapters, for rows of their own or for a fusion. */
  static async open({ model, adapter, kind, batches, setup }) {
    const bench = new Bench()
    bench.#model = await AutoModel.fromPretrained(model)
    bench.#batches = batches
    bench.#names = Array.from({ length: setup?.count ?? 1 }, (_, i) => (i === 0 ? 'bench' : `bench${i}`))
    // Where rows are answered once for each adapter, each has a head, as the other side wants it.
    const withHeads = setup?.kind === 'parallel'
    const leaveOut = setup?.leaveOut ?? []
    for (const name of bench.#names) {
      await bench.#model.loadAdapter(adapter, { as: name, withHead: withHeads || name === 'bench', leaveOut })
    }
    bench.#model.setActiveAdapters('bench')
    if (setup?.kind === 'fuse') {
      bench.#model.addAdapterFusion(bench.#names, { dropoutProb: 0 }, { name: 'f' })
      bench.#model.setActiveAdapters(Fuse(...bench.#names, { name: 'f' }))
    }
    if (setup?.kind === 'parallel') bench.#model.setActiveAdapters(Parallel(...bench.#names))
    if (setup?.kind === 'mixed') {
      const [{ inputIds }] = batches
      const share = inputIds.length / setup.count
      bench.#adapters = inputIds.map((_, row) => bench.#names[Math.floor(row / share)])
    }
    if (kind === 'step') bench.#train(setup)
    return bench
  }

  // A trainer gives one event a step and goes on when it is asked for the next, so that a pass is timed from outside.
  #train(setup) {
    if (setup?.kind === 'fuse') this.#model.trainAdapterFusion(this.#model.activeAdapters)
    else this.#model.trainAdapter('bench')
    const trainDataset = this.#batches.flatMap(({ inputIds, labels }) =>
      inputIds.map((ids, i) => ({ inputIds: ids, label: labels[i] }))
    )
    const args = {
      outputDir: this.#scratch,
      perDeviceTrainBatchSize: this.#batches[0].inputIds.length,
      maxSteps: manySteps,
      loggingSteps: 1,
      shuffle: false,
      saveStrategy: 'no',
      learningRate: 1e-4,
      weightDecay: 0.01,
      maxGradNorm: 1,
      frozenLayerCache: setup?.kind === 'kept' && { folder: this.#scratch }
    }
    this.#events = new AdapterTrainer({ model: this.#model, trainDataset, args }).run()[Symbol.asyncIterator]()
  }

  /** All batches once. */
  async pass() {
    for (const { inputIds } of this.#batches) {
      if (this.#events) await this.#step()
      else await this.#model.forward({ inputIds }, { adapters: this.#adapters })
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
    const answer = await this.#model.forward({ inputIds: this.#batches[0].inputIds }, { adapters: this.#adapters })
    const parts = answer.logits ? [answer.logits] : answer.headOutputs.map(({ logits }) => logits)
    return parts.flatMap(({ data, shape: [rows, labels] }) =>
      Array.from({ length: rows }, (_, row) => [...data.subarray(row * labels, (row + 1) * labels)])
    )
  }

  /** Seconds of one switch, over many. */
  switches(count) {
    const begin = performance.now()
    for (let i = 0; i < count; i++) this.#model.setActiveAdapters(this.#names[i % this.#names.length])
    return (performance.now() - begin) / 1000 / count
  }

  async close() {
    await this.#events?.return?.()
    this.#model.dispose()
    rmSync(this.#scratch, { recursive: true, force: true })
  }
}
