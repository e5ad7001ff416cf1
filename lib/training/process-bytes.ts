import { readFileSync } from 'node:fs'
import { getHeapSpaceStatistics } from 'node:v8'

/** What the process has in memory, but for weights that are mapped from files. */
export interface ProcessBytes {
  /** Not mapped from a file. */
  readonly anonymous: number
  /** Of programs and libraries; the system brings in the pages that are used, and a first training uses others. */
  readonly code: number
  /** Of `anonymous`, V8's young generation, and what it has set apart for that. */
  readonly young: number
  readonly youngRoom: number
}

/** Undefined where the system does not tell. */
export function processBytes(): ProcessBytes | undefined {
  if (process.platform !== 'linux') return undefined
  // What is read here makes garbage of its own.
  const { physical: young, room: youngRoom } = youngGeneration()
  let [anonymous, code, isCode] = [0, 0, false]
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const [, name, kibibytes] = /^(Rss|Anonymous): +(\d+) kB$/.exec(line) ?? []
    if (name === undefined) {
      if (/^[0-9a-f]+-/.test(line)) isCode = /\.so(\.[\d.]+)?$|\.node$/.test(line) || line.endsWith(process.execPath)
    } else if (name === 'Anonymous') {
      anonymous += Number(kibibytes) * 1024
      if (isCode) code -= Number(kibibytes) * 1024
    } else if (isCode) {
      code += Number(kibibytes) * 1024
    }
  }
  return { anonymous, code, young, youngRoom }
}

function youngGeneration(): { readonly physical: number; readonly room: number } {
  const space = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')
  return { physical: space?.physical_space_size ?? 0, room: space?.space_size ?? 0 }
}

export function youngBytes(): number {
  return youngGeneration().physical
}

/*
 * V8 collects its young generation when the room that it has set apart is full, however little of it is garbage at any
 * time: a run of some hundred steps touches all of it, 8 MiB of 16 in a young process. A micro-batch of 8 rows, with its
 * events, took about 40 KiB of it; a row of 45 words, when it was tokenized, 60 KiB more.
 *
 * Where much outlives its collections, as tokenized rows do, V8 doubles the room. When it does is chance: one and the same
 * run over 256 rows of 128 words grew by 61, 73 and 76 MiB. What is likely counts: a quarter of what is taken beyond the
 * room, at most two thirds of what V8 may add to it.
 */
const youngStart = 2 ** 20
const youngOfBatch = 40 * 2 ** 10
/** V8's own limit on 64 bits. */
const youngMost = 32 * 2 ** 20

/**
 * By how much a run makes the young generation grow.
 * @param batches micro-batches
 * @param encoding what JavaScript takes while their rows are tokenized
 */
export function youngGrowth({ young, youngRoom }: ProcessBytes, batches: number, encoding: number): number {
  const left = Math.max(0, youngRoom - young)
  const taken = youngStart + batches * youngOfBatch + encoding
  const added = Math.min(youngRoom, Math.max(0, youngMost - youngRoom))
  return Math.min(left, taken) + Math.min((2 / 3) * added, Math.max(0, taken - left) / 4)
}
