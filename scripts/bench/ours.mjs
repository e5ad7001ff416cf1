// Our side, through the public API alone. Threads come from OMP_NUM_THREADS, which the driver sets.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  AdapterTrainer,
  AutoModel,
  Fuse,
  MultiTaskTrainer,
  Parallel,
  setNumThreads,
  trainSweep
} from '../../dist/lib/index.js'

const manySteps = 1_000_000

export const loadLibrary = () => setNumThreads(Number(process.env.OMP_NUM_THREADS))

export class Bench {
  #model
  #batches
  #events
  #adapters
  #names
  #apart
  #scratch = mkdtempSync(join(tmpdir(), 'torch-adapters-bench-'))

  /**
   * `kind` 'step' trains; 'forward' answers. `setup`: several adapters, for rows of their own or for a fusion.
   * `archive`: of torch.export, in the place of the model. `progress(done, total)`: adapters that are there.
   */
  static async open({ model, adapter, kind, batches, setup, trunk, archive, device }, progress = () => {}) {
    const bench = new Bench()
    bench.#model = archive
      ? await AutoModel.fromExported(archive)
      : await AutoModel.fromPretrained(model, { trunk, device })
    bench.#batches = batches
    bench.#names = Array.from({ length: setup?.count ?? 1 }, (_, i) => (i === 0 ? 'bench' : `bench${i}`))
    // Where rows are answered once for each adapter, each has a head, as the other side wants it.
    const withHeads = ['parallel', 'sweep', 'tasks'].includes(setup?.kind)
    const leaveOut = setup?.leaveOut ?? []
    for (const [i, name] of bench.#names.entries()) {
      await bench.#model.loadAdapter(adapter, { as: name, withHead: withHeads || name === 'bench', leaveOut })
      if ((i + 1) % 10 === 0) progress(i + 1, bench.#names.length)
    }
    bench.#model.setActiveAdapters('bench')
    if (setup?.kind === 'fuse') {
      bench.#model.addAdapterFusion(bench.#names, { dropoutProb: 0 }, { name: 'f' })
      bench.#model.setActiveAdapters(Fuse(...bench.#names, { name: 'f' }))
    }
    if (['parallel', 'sweep'].includes(setup?.kind)) bench.#model.setActiveAdapters(Parallel(...bench.#names))
    if (setup?.kind === 'mixed') {
      const [{ inputIds }] = batches
      const share = inputIds.length / setup.count
      bench.#adapters = inputIds.map((_, row) => bench.#names[Math.floor(row / share)])
    }
    if (kind === 'step') bench.#train(setup)
    if (['sweep', 'tasks'].includes(setup?.kind)) {
      bench.#apart = await Bench.open({ model, adapter, kind, batches: batches.slice(0, 1), device })
    }
    return bench
  }

  #argsFor(batchSize) {
    return {
      outputDir: this.#scratch,
      perDeviceTrainBatchSize: batchSize,
      maxSteps: manySteps,
      loggingStrategy: 'no',
      shuffle: false,
      saveStrategy: 'no',
      learningRate: 1e-4,
      weightDecay: 0.01,
      maxGradNorm: 1
    }
  }

  // A trainer gives one event a step and goes on when it is asked for the next, so that a pass is timed from outside.
  #train(setup) {
    if (setup?.kind === 'sweep') {
      this.#events = sweepSteps(
        this.#model,
        rowsOf(this.#batches),
        this.#names,
        this.#argsFor(this.#batches[0].inputIds.length)
      )
      return
    }
    if (setup?.kind === 'tasks') {
      const tasks = Object.fromEntries(this.#names.map((name, i) => [name, { dataset: rowsOf([this.#batches[i]]) }]))
      const args = this.#argsFor(this.#batches[0].inputIds.length)
      this.#events = new MultiTaskTrainer({ model: this.#model, tasks, args }).run()[Symbol.asyncIterator]()
      return
    }
    if (setup?.kind === 'fuse') this.#model.trainAdapterFusion(this.#model.activeAdapters)
    else this.#model.trainAdapter('bench')
    const trainDataset = rowsOf(this.#batches)
    const args = {
      ...this.#argsFor(this.#batches[0].inputIds.length),
      frozenLayerCache: setup?.kind === 'kept' && { folder: this.#scratch }
    }
    this.#events = new AdapterTrainer({ model: this.#model, trainDataset, args }).run()[Symbol.asyncIterator]()
  }

  /** All batches once. */
  async pass() {
    // One step has the rows of all.
    if (this.#apart) return await this.#step()
    for (const { inputIds } of this.#batches) {
      if (this.#events) await this.#step()
      else await this.#model.forward({ inputIds }, { adapters: this.#adapters })
    }
  }

  /** The same rows, all under one adapter. */
  async passSingle() {
    for (const { inputIds } of this.#batches) await this.#model.forward({ inputIds }, { adapters: this.#names[0] })
  }

  /** The same work one adapter after the other, each in a step of its own. */
  async passApart() {
    for (let i = 0; i < this.#names.length; i++) await this.#apart.pass()
  }

  async #step() {
    for (;;) {
      const { value, done } = await this.#events.next()
      if (done) throw new Error('the trainer ended early')
      if (value.type === 'step') return
    }
  }

  async logits() {
    const answer = await this.#model.forward({ inputIds: this.#batches[0].inputIds }, { adapters: this.#adapters })
    const parts = answer.logits ? [answer.logits] : answer.headOutputs.map(({ logits }) => logits)
    return parts.flatMap(({ data, shape }) => {
      const labels = shape.at(-1)
      return Array.from({ length: data.length / labels }, (_, row) => [
        ...data.subarray(row * labels, (row + 1) * labels)
      ])
    })
  }

  /** Seconds of one switch, over many. */
  switches(count) {
    const begin = performance.now()
    for (let i = 0; i < count; i++) this.#model.setActiveAdapters(this.#names[i % this.#names.length])
    return (performance.now() - begin) / 1000 / count
  }

  async close() {
    await this.#events?.return?.()
    await this.#apart?.close()
    this.#model.dispose()
    rmSync(this.#scratch, { recursive: true, force: true })
  }
}

const rowsOf = (batches) =>
  batches.flatMap(({ inputIds, labels }) => inputIds.map((ids, i) => ({ inputIds: ids, label: labels[i] })))

/** The steps of a sweep as an iterator: the sweep waits after each until the next is asked for. */
async function* sweepSteps(model, rows, names, args) {
  const config = model.adapters.get('bench')
  // The logits were compared: the adapters of the files make room for the sweep's.
  model.setActiveAdapters(null)
  for (const name of names) model.deleteAdapter(name)
  const aborter = new AbortController()
  let give
  let wait = Promise.resolve()
  let next = new Promise((resolve) => {
    give = resolve
  })
  const running = trainSweep(
    model,
    rows,
    { seed: names.map((_, i) => i) },
    {
      config,
      head: 'bench',
      args,
      signal: aborter.signal,
      onEvent: (event) => {
        if (event.type !== 'step') return
        let release
        wait = new Promise((resolve) => {
          release = resolve
        })
        give({ event, release })
        return wait
      }
    }
  )
  running.catch(() => undefined)
  try {
    for (;;) {
      const { event, release } = await Promise.race([next, running.then(() => Promise.reject(new Error('it ended')))])
      next = new Promise((resolve) => {
        give = resolve
      })
      yield event
      release()
    }
  } finally {
    aborter.abort()
  }
}
