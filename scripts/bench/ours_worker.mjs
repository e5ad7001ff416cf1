// Our side: the same commands as peer_worker.py.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const start = performance.now()
const { Bench, loadLibrary } = await import('./ours.mjs')
// As the other side does: libtorch is there before anything is timed; the row "whole process" counts it on both sides.
loadLibrary()
const importSeconds = (performance.now() - start) / 1000

let bench
const prepare = async (command) => {
  bench = await Bench.open(command, (progress, total) => console.log(JSON.stringify({ progress, total })))
  return {}
}

const operations = {
  prepare,
  run: async ({ repeat, apart, single }) => {
    const seconds = []
    for (let i = 0; i < repeat; i++) {
      const begin = performance.now()
      await (apart ? bench.passApart() : single ? bench.passSingle() : bench.pass())
      seconds.push((performance.now() - begin) / 1000)
    }
    return { seconds }
  },
  switch: () => ({ seconds: [bench.switches(1000), bench.switches(10_000)].at(-1) }),
  logits: async () => ({ logits: await bench.logits() }),
  memory: () => ({ peakBytes: 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) }),
  load: async (command) => {
    const begin = performance.now()
    await prepare({ ...command, kind: 'forward' })
    const logits = await bench.logits()
    return { logits, seconds: (performance.now() - begin) / 1000, importSeconds }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  const answer = await Promise.resolve(operations[command.op](command)).catch((error) => ({ error: error.message }))
  console.log(JSON.stringify(answer))
}
bench?.close()
