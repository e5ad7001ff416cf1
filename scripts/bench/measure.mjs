// One measurement of each type. Both sides work in turns in the same run, so that what else the machine does meets both.
import { setTimeout as sleep } from 'node:timers/promises'
import { Problem } from '../lib/terminal.mjs'
import { exportedFolders } from './exported_models.mjs'
import { modelFolders } from './models.mjs'
import { models, operations } from './rows.mjs'
import { startOurs, startPeer } from './side.mjs'

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
const summary = (values) => ({ median: median(values), min: Math.min(...values) })

/** Work of each side must be the same work: logits agree before anything is timed. */
function checkLogits(ours, theirs, name, tolerance = 1e-3) {
  let worst = 0
  ours.flat().forEach((value, index) => {
    worst = Math.max(worst, Math.abs(value - theirs.flat()[index]) / (1e-3 + Math.abs(theirs.flat()[index])))
  })
  if (!(worst <= tolerance) || ours.flat().length !== theirs.flat().length) {
    throw new Problem(
      `${name}: the logits of the two sides differ by ${worst} (relative); times would compare different work.`
    )
  }
}

async function withSides(threads, work) {
  const sides = []
  try {
    for (const start of [startOurs, startPeer]) sides.push(await start(threads))
    return await work(...sides)
  } finally {
    await Promise.all(sides.map((side) => side.close()))
  }
}

const commandOf = async (row, threads, device = 'cpu') => {
  const { kind, batches, padTo, setup } = row
  const extra = { ...(padTo ? { padTo } : {}), ...(setup ? { setup } : {}) }
  return { op: 'prepare', threads, device, kind, batches, ...extra, ...(await modelFolders(row.model, setup?.method)) }
}

function time(row, threads, { rounds = row.rounds, device, progress, loading }) {
  return withSides(threads, async (ours, peer) => {
    const command = await commandOf(row, threads, device)
    const { padTo: _, ...unpadded } = command
    await ours.ask(unpadded, loading)
    await peer.ask(command, loading)
    checkLogits((await ours.ask({ op: 'logits' })).logits, (await peer.ask({ op: 'logits' })).logits, row.name)
    const { hidden_size: hidden, intermediate_size: inner } = models[row.model]
    const tokens = row.batches[0].inputIds.reduce((sum, ids) => sum + ids.length, 0)
    const repeat = row.passes ?? 1
    const seconds = { ours: [], peer: [], apart: [], loop: [], single: [] }
    const rates = []
    const runs = [
      ['ours', ours],
      ...(row.single ? [['single', ours]] : []),
      ['peer', peer],
      ...(row.apart ? [['apart', ours]] : []),
      ...(row.loop ? [['loop', peer]] : [])
    ]
    let done = 0
    for (let round = -1; round < rounds; round++) {
      rates.push((await peer.ask({ op: 'gemm', threads, device, tokens, hidden, inner, repeat: 4 })).gflops)
      for (const [key, side] of runs) {
        await sleep(20)
        const answer = await side.ask({ op: 'run', repeat, [key]: true })
        // The first round warms up.
        if (round >= 0) seconds[key].push(median(answer.seconds))
        progress(++done, (rounds + 1) * runs.length, 'runs')
      }
    }
    const limit = operations(row) / (Math.max(...rates) * 1e9)
    const result = {
      ours: summary(seconds.ours),
      peer: summary(seconds.peer),
      unit: 's',
      limit,
      gflops: Math.max(...rates)
    }
    const apart = row.apart && summary(seconds.apart)
    const loop = row.loop && summary(seconds.loop)
    const single = row.single && summary(seconds.single)
    // Of each round: what else the machine did met both.
    const overSingle = single && median(seconds.ours.map((value, round) => value / seconds.single[round]))
    return {
      ...result,
      ratio: result.peer.median / result.ours.median,
      limitShare: limit / result.ours.median,
      ...(apart && { apart: { ...apart, ratio: apart.median / result.ours.median } }),
      ...(loop && { loop: { ...loop, ratio: loop.median / result.ours.median } }),
      ...(single && { single: { ...single, ratio: overSingle } })
    }
  })
}

/** Peak memory of two sides, one after the other: [key, how it starts, what its command has more]. */
async function peaks(row, threads, progress, sides) {
  const peak = {}
  for (const [done, [key, start, more]] of sides.entries()) {
    const side = await start(threads)
    try {
      await side.ask({ ...(await commandOf(row, threads)), ...more })
      await side.ask({ op: 'run', repeat: 3 })
      peak[key] = (await side.ask({ op: 'memory' })).peakBytes
    } finally {
      await side.close()
    }
    progress(done + 1, sides.length)
  }
  return { ours: summary([peak.ours]), peer: summary([peak.peer]), unit: 'bytes', ratio: peak.ours / peak.peer }
}

const memory = (row, threads, { progress }) =>
  peaks(row, threads, progress, [
    ['ours', startOurs],
    ['peer', startPeer]
  ])

async function load(row, threads, { rounds = row.rounds, progress }) {
  const command = { ...(await commandOf(row, threads)), op: 'load' }
  const seconds = { ours: [], peer: [] }
  const whole = { ours: [], peer: [] }
  for (let round = -1; round < rounds; round++) {
    const logits = []
    for (const [key, start] of [
      ['ours', startOurs],
      ['peer', startPeer]
    ]) {
      const side = await start(threads)
      try {
        const answer = await side.ask(command)
        logits.push(answer.logits)
        if (round < 0) continue
        seconds[key].push(answer.seconds)
        whole[key].push((performance.now() - side.started) / 1000)
      } finally {
        await side.close()
      }
    }
    checkLogits(...logits, row.name)
    progress(round + 1, rounds)
  }
  const result = { ours: summary(seconds.ours), peer: summary(seconds.peer), unit: 's' }
  const process = { ours: summary(whole.ours), peer: summary(whole.peer) }
  return {
    ...result,
    ratio: result.peer.median / result.ours.median,
    process: { ...process, ratio: process.peer.median / process.ours.median }
  }
}

function switching(row, threads, { rounds = row.rounds, device, progress, loading }) {
  return withSides(threads, async (ours, peer) => {
    const command = await commandOf(row, threads, device)
    const seconds = { ours: [], peer: [] }
    await ours.ask(command, loading)
    await peer.ask(command, loading)
    for (let round = 0; round < rounds; round++) {
      seconds.ours.push((await ours.ask({ op: 'switch' })).seconds)
      seconds.peer.push((await peer.ask({ op: 'switch' })).seconds)
      progress(round + 1, rounds)
    }
    const result = { ours: summary(seconds.ours), peer: summary(seconds.peer), unit: 's' }
    return { ...result, ratio: result.peer.median / result.ours.median }
  })
}

/** An archive, our own family and eager PyTorch, in turns. */
async function exported(row, threads, { rounds = row.rounds, progress }) {
  const { kind, batches } = row
  const { model, archive, adapter } = await exportedFolders(row.model)
  const command = { op: 'prepare', threads, kind, batches, model, adapter }
  const sides = {}
  try {
    for (const [key, start, more] of [
      ['ours', startOurs, { archive }],
      ['native', startOurs, {}],
      ['peer', startPeer, { eager: true }]
    ]) {
      sides[key] = await start(threads)
      await sides[key].ask({ ...command, ...more })
    }
    const logits = {}
    for (const [key, side] of Object.entries(sides)) logits[key] = (await side.ask({ op: 'logits' })).logits
    checkLogits(logits.ours, logits.peer, row.name)
    checkLogits(logits.ours, logits.native, row.name)
    const seconds = { ours: [], native: [], peer: [] }
    for (let round = -1; round < rounds; round++) {
      for (const [key, side] of Object.entries(sides)) {
        await sleep(20)
        const answer = await side.ask({ op: 'run', repeat: row.passes ?? 1 })
        if (round >= 0) seconds[key].push(median(answer.seconds))
      }
      progress(round + 1, rounds)
    }
    const [ours, native, peer] = ['ours', 'native', 'peer'].map((key) => summary(seconds[key]))
    // Of each round: what else the machine did met both.
    const overNative = median(seconds.ours.map((value, round) => value / seconds.native[round]))
    return { ours, peer, unit: 's', ratio: peer.median / ours.median, native: { ...native, ratio: overNative } }
  } finally {
    await Promise.all(Object.values(sides).map((side) => side.close()))
  }
}

const trunks = { ours: 'bfloat16', peer: 'float32' }

/** Ours with both kinds of trunk, in turns. */
async function trunk(row, threads, { rounds = row.rounds, progress }) {
  const command = await commandOf(row, threads)
  const sides = {}
  try {
    for (const key of ['ours', 'peer']) sides[key] = await startOurs(threads)
    for (const [key, type] of Object.entries(trunks)) await sides[key].ask({ ...command, trunk: type })
    const logits = await Promise.all(Object.values(sides).map((side) => side.ask({ op: 'logits' })))
    // Twelve layers of numbers of 8 bits, where some logits are near 0.
    checkLogits(logits[0].logits, logits[1].logits, row.name, 0.5)
    const seconds = { ours: [], peer: [] }
    for (let round = -1; round < rounds; round++) {
      for (const key of ['ours', 'peer']) {
        await sleep(20)
        const answer = await sides[key].ask({ op: 'run', repeat: 1 })
        if (round >= 0) seconds[key].push(median(answer.seconds))
      }
      progress(round + 1, rounds)
    }
    const result = { ours: summary(seconds.ours), peer: summary(seconds.peer), unit: 's' }
    return { ...result, ratio: result.peer.median / result.ours.median }
  } finally {
    await Promise.all(Object.values(sides).map((side) => side.close()))
  }
}

const trunkMemory = (row, threads, { progress }) =>
  peaks(
    row,
    threads,
    progress,
    Object.entries(trunks).map(([key, type]) => [key, startOurs, { trunk: type }])
  )

const types = { exported, trunk, trunkMemory, time, memory, load, switch: switching }

/** { ours, peer: { median, min }, unit, ratio, … }; the ratio of times is peer to ours, that of memory ours to peer. */
export const measure = (row, threads, options) => types[row.type](row, threads, options)
