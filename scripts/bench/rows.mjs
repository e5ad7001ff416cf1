// What is measured: models, batches, and the floating-point work that no implementation can leave out.

const bertBase = {
  hidden_size: 768,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  intermediate_size: 3072,
  vocab_size: 30522,
  reduction_factor: 16
}
const narrow = {
  hidden_size: 64,
  num_hidden_layers: 12,
  num_attention_heads: 4,
  intermediate_size: 256,
  vocab_size: 1000,
  reduction_factor: 16
}
export const models = { 'bert-base': bertBase, narrow }

// mulberry32: the same rows on every machine.
function randomSource(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

function batchOf(lengths, vocabulary, random) {
  const id = () => 1 + Math.floor(random() * (vocabulary - 1))
  return {
    inputIds: lengths.map((length) => Array.from({ length }, id)),
    labels: lengths.map(() => Math.floor(random() * 2))
  }
}

function batches(model, count, lengthsOf) {
  const random = randomSource(17)
  return Array.from({ length: count }, () => batchOf(lengthsOf(random), models[model].vocab_size, random))
}

const fixed = (rows, length) => () => Array(rows).fill(length)

// Sentences as in GLUE: log-normal with mean 25, from 8 to 128 tokens.
function glueLike(random) {
  const spread = 0.6
  const centre = Math.log(25) - spread ** 2 / 2
  return Array.from({ length: 16 }, () => {
    const gauss = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    return Math.min(128, Math.max(8, Math.round(Math.exp(centre + spread * gauss))))
  })
}

/** Row i of a batch under adapter i of `count`, which stay side by side, as the other side needs them. */
const mixed = (count, method) => ({ kind: 'mixed', count, method })
const fused = (count) => ({ kind: 'fuse', count })
const lowest = (count) => Array.from({ length: count }, (_, i) => i)
/** Every row under each of `count` adapters, which stand in the layers from `from` on. */
const parallel = (count, from) => ({ kind: 'parallel', count, leaveOut: lowest(from) })
/** One adapter in the layers from `from` on; what those below give is kept. */
const kept = (from) => ({ kind: 'kept', count: 1, leaveOut: lowest(from) })

/** `count` adapters that learn from the same rows in one pass; each alone beside it. */
const swept = (count) => ({ kind: 'sweep', count })
/** Batch i is that of task i, which has an adapter and a head. */
const tasked = (count) => ({ kind: 'tasks', count })

/**
 * Of what stands in one layer, for each token; what is made of parameters alone counts for nothing, and ReFT's few tokens
 * do not either.
 */
function siteOperations(setup, { d, inner, r }) {
  // AdapterFusion: three products of d², and for each adapter its projections and as much again for scores and sum.
  if (setup?.kind === 'fuse') return 6 * d * d + setup.count * 8 * d * r
  const bottleneck = (size) => 4 * d * size
  // LoRA and DoRA: two factors of rank 8 at query and value. (IA)³: a factor for each value of two Linears and of feed-forward.
  const lora = 2 * 4 * d * 8
  const prefix = (length) => 4 * length * d
  const methods = {
    lora,
    dora: lora,
    ia3: 2 * d + inner,
    par_bn: bottleneck(d / 2),
    mam: bottleneck(d / 2) + prefix(30),
    unipelt: bottleneck(d / 16) + lora + prefix(10),
    // Two places, each side a factor of rank 1 for each of four parts.
    compacter: 2 * 2 * 2 * (4 * d + d),
    loreft: 0
  }
  return methods[setup?.method] ?? bottleneck(r)
}

/**
 * Operations of one pass over all batches. Forward: 24 d² + 4 S d a token and layer, 4 d r for the adapter; of the last
 * layer, where a head reads one token a row, keys and values alone are for all of them. Backward through a frozen model: the
 * same products once (attention twice), and nothing below the lowest adapter, which stands at the end of layer 0; what
 * trains has twice its forward.
 */
export function operations({ model, kind, batches, setup }) {
  const {
    hidden_size: d,
    num_hidden_layers: layers,
    intermediate_size: inner,
    reduction_factor: factor
  } = models[model]
  const r = Math.floor(d / factor)
  const ofSite = siteOperations(setup, { d, inner, r })
  // Copies of a row are one until the first layer with an adapter; what is kept is not computed at all.
  const free = setup?.leaveOut?.length ?? 0
  const copies = ['parallel', 'sweep'].includes(setup?.kind) ? setup.count : 1
  const plain = setup?.kind === 'kept' ? 0 : free
  // Layers with adapters, of which the last is counted apart.
  const inside = copies * (layers - free - 1)
  const step = kind === 'step' ? 1 : 0
  const layer = (length, read, perScore) =>
    4 * d * d * length + (4 * d * d + 4 * d * inner + perScore * length * d) * read
  let total = 0
  for (const batch of batches) {
    for (const [row, { length }] of batch.inputIds.entries()) {
      const read = Array.isArray(batch.labels[row]) ? length : 1
      total += (plain + inside) * layer(length, length, 4) + copies * layer(length, read, 4)
      total += step * ((inside - copies) * layer(length, length, 8) + copies * layer(length, read, 8))
      total += (1 + 2 * step) * (inside * length + copies * read) * ofSite
    }
  }
  return total
}

/** A label for each token: the head reads all of them. */
const tagged = (made) =>
  made.map(({ inputIds }) => ({ inputIds, labels: inputIds.map((ids) => ids.map((id) => id % 2)) }))

const timed = (name, what, target, fields) => ({ type: 'time', name, what, target, ...fields })

/** `counts`: adapters that are resident. */
export const switchRows = (counts) =>
  counts.flatMap((count) => {
    const resident = {
      target: undefined,
      model: 'narrow',
      kind: 'forward',
      batches: batches('narrow', 1, fixed(1, 8)),
      rounds: 5,
      setup: { kind: 'switch', count }
    }
    return [
      {
        ...resident,
        type: 'switch',
        name: `switch (C9), ${count} adapters`,
        what: 'hidden 64, 12 layers, all adapters resident: one call that makes another one active'
      },
      {
        ...resident,
        type: 'time',
        name: `switch (C9), forward beside ${count}`,
        what: 'the same model, a row of 8 tokens under one adapter, beside all that are resident'
      }
    ]
  })

/** Of rows under adapters of their own: the method, and what its row calls it. */
const mixedMethods = {
  adapter: 'adapter',
  lora: 'LoRA',
  ia3: '(IA)³',
  dora: 'DoRA',
  par_bn: 'parallel adapter',
  mam: 'MAM adapter',
  unipelt: 'UniPELT',
  compacter: 'Compacter',
  loreft: 'LoReFT'
}

/** Name on the command line → measurements. `target` is the ratio to reach; for memory, not to pass. */
export const rows = {
  step: [
    timed('step (C1)', 'BERT-base, reduction 16, B8 S32, forward, backward, clip, AdamW', 1.2, {
      model: 'bert-base',
      kind: 'step',
      batches: batches('bert-base', 1, fixed(8, 32)),
      rounds: 20
    })
  ],
  lengths: [
    timed('lengths (C5), dynamic padding', 'B16, lengths 8 to 128 with mean 25, step', 2, {
      model: 'bert-base',
      kind: 'step',
      batches: batches('bert-base', 6, glueLike),
      rounds: 6
    }),
    timed(
      'lengths (C5), padded to 128',
      'the same rows; the other side pads as run_glue.py does by default',
      undefined,
      {
        model: 'bert-base',
        kind: 'step',
        batches: batches('bert-base', 2, glueLike),
        rounds: 3,
        padTo: 128
      }
    )
  ],
  overhead: ['forward', 'step'].map((kind) =>
    timed(`overhead (C10), ${kind}`, 'hidden 64, 12 layers, B1 S8', 4, {
      model: 'narrow',
      kind,
      batches: batches('narrow', 1, fixed(1, 8)),
      rounds: 20,
      passes: 25
    })
  ),
  exported: [
    ['hidden 64, 12 layers, B1 S8', 'narrow', [1, 8], 30, 25],
    ['BERT-base, B8 S32', 'bert-base', [8, 32], 8, 1]
  ].flatMap(([what, model, size, rounds, passes]) =>
    ['forward', 'step'].map((kind) => ({
      type: 'exported',
      name: `exported, ${what}, ${kind}`,
      what: 'a head on every token; the other side eager PyTorch with adapters by surgery, and our own BERT',
      target: model === 'narrow' && kind === 'forward' ? 2.5 : undefined,
      // Our own family in turns with the archive: what its graph may cost.
      native: 1.1,
      model,
      kind,
      batches: tagged(batches(model, 1, fixed(...size))),
      rounds,
      passes
    }))
  ),
  memory: [
    ['memory, C1', 8, 32],
    ['memory, B16 S128', 16, 128]
  ].map(([name, count, length]) => ({
    type: 'memory',
    name,
    what: `BERT-base, ${count} rows of ${length}, 3 steps, peak resident memory of a fresh process`,
    target: 0.8,
    model: 'bert-base',
    kind: 'step',
    batches: batches('bert-base', 1, fixed(count, length))
  })),
  load: [
    {
      type: 'load',
      name: 'load',
      what: 'BERT-base and adapter from disk to first logits, warm cache, fresh process with its library loaded',
      target: 3,
      model: 'bert-base',
      kind: 'forward',
      batches: batches('bert-base', 1, fixed(1, 16)),
      rounds: 5
    }
  ],
  mixed: Object.entries(mixedMethods).flatMap(([method, called]) =>
    (['adapter', 'lora'].includes(method) ? [1, 8, 32] : [8, 32]).map((count) =>
      timed(
        `mixed (C7), ${count} ${called}${count > 1 ? 's' : ''}`,
        '32 rows of 16 tokens, forward; the other side BatchSplit',
        undefined,
        {
          model: 'bert-base',
          kind: 'forward',
          batches: batches('bert-base', 1, fixed(32, 16)),
          rounds: 8,
          setup: mixed(count, method),
          loop: true,
          // One pass for all rows under one adapter, in turns with the mixed one: how much the mixture may cost.
          ...(count > 1 && { single: 1.1 })
        }
      )
    )
  ),
  parallel: [0, 6].map((from) =>
    timed(
      `parallel, 4 adapters in layers ${from} to 11`,
      'B8 S32, forward, every row under each adapter; the other side Parallel',
      undefined,
      {
        model: 'bert-base',
        kind: 'forward',
        batches: batches('bert-base', 1, fixed(8, 32)),
        rounds: 6,
        setup: parallel(4, from)
      }
    )
  ),
  prefix: [
    timed('prefix (C4)', 'B8 S32, adapters in layers 6 to 11, a step of an epoch after the first', 1.9, {
      model: 'bert-base',
      kind: 'step',
      batches: batches('bert-base', 4, fixed(8, 32)),
      rounds: 10,
      setup: kept(6)
    })
  ],
  bf16: [
    { type: 'trunk', what: 'B8 S32, step; the other side ours with a float32 trunk', rounds: 10 },
    { type: 'trunkMemory', what: 'the same step three times, peak resident memory of a fresh process' }
  ].map((fields) => ({
    name: `bfloat16 trunk${fields.type === 'trunkMemory' ? ', memory' : ''}, beside ours in float32`,
    target: undefined,
    model: 'bert-base',
    kind: 'step',
    batches: batches('bert-base', 1, fixed(8, 32)),
    ...fields
  })),
  sweep: [1, 4, 16].map((count) =>
    timed(
      `sweep, ${count} adapter${count > 1 ? 's' : ''}`,
      'B4 S32, one step of each; the other side Parallel',
      undefined,
      {
        model: 'bert-base',
        kind: 'step',
        batches: batches('bert-base', 1, fixed(4, 32)),
        rounds: 4,
        setup: swept(count),
        apart: true
      }
    )
  ),
  tasks: [
    timed('8 tasks, fused', 'B4 of 16 to 32 tokens, one step of each; the other side a loop', undefined, {
      model: 'bert-base',
      kind: 'step',
      batches: batches('bert-base', 8, (random) => Array.from({ length: 4 }, () => 16 + Math.floor(random() * 17))),
      rounds: 4,
      setup: tasked(8),
      apart: true
    })
  ],
  fusion: [2, 8, 16].flatMap((count) => [
    ...['forward', 'step'].map((kind) =>
      timed(
        `fusion (C6), ${count} adapters, ${kind}`,
        'dynamic, B8 S32; a step trains query, key, value and head',
        count === 8 ? 2 : undefined,
        {
          model: 'bert-base',
          kind,
          batches: batches('bert-base', 1, fixed(8, 32)),
          rounds: 6,
          setup: fused(count)
        }
      )
    ),
    {
      type: 'memory',
      name: `fusion (C6), ${count} adapters, memory`,
      what: 'the same step three times, peak resident memory of a fresh process',
      target: undefined,
      model: 'bert-base',
      kind: 'step',
      batches: batches('bert-base', 1, fixed(8, 32)),
      setup: fused(count)
    }
  ]),
  switch: switchRows([10, 100, 1000])
}
