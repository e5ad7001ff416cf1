import { addAbortSignal } from 'node:stream'
import { counted } from '../config/counted.js'
import type { Row } from '../data/dataset.js'
import { exitStatus, standardInput } from './arguments.js'
import { untilInterrupted } from './model-options.js'
import { FileOutput, jsonLine, printJson } from './output.js'

export interface AnswerFile {
  readonly input: string
  /** Default: standard output. */
  readonly output: string | undefined
  /** Rows in memory at a time. */
  readonly atOnce: number
  /** With an output file: one object about the run on standard output, with these facts. */
  readonly json: boolean
  readonly facts: Readonly<Record<string, unknown>>
}

/** The lines about these rows: one for each, or as they come. `first`: the number of the first row in the file. */
type Answer = (
  rows: readonly Row[],
  signal: AbortSignal,
  first: number
) => Promise<readonly object[]> | AsyncIterable<object>

/** Answers every row of a file with a line of JSON; the file of answers is there whole or not at all. */
export async function answerRows(
  { input, output: target, atOnce, json, facts }: AnswerFile,
  answer: Answer
): Promise<number> {
  const output = target === undefined ? undefined : new FileOutput(target)
  const write = (text: string) => (output === undefined ? process.stdout.write(text) : output.write(text))
  let finished = false
  try {
    const start = performance.now()
    const rows = await untilInterrupted(async (signal) => {
      let count = 0
      for await (const group of groupsOf(input, atOnce, signal)) {
        for await (const line of await answer(group, signal, count)) write(jsonLine(line))
        count += group.length
      }
      return count
    })
    if (rows === 'interrupted') return exitStatus.interrupted
    output?.finish()
    finished = true
    const seconds = (performance.now() - start) / 1000
    if (json && output !== undefined) printJson({ rows, seconds, output: target, ...facts })
    else process.stderr.write(`${counted(rows, 'row')} in ${seconds.toFixed(1)} s\n`)
    return exitStatus.done
  } finally {
    if (!finished) output?.discard()
  }
}

/** The rows of a file, so many at a time. */
async function* groupsOf(file: string, size: number, signal: AbortSignal): AsyncGenerator<Row[]> {
  const { readRows, readRowsOf } = await import('../data/read-rows.js')
  const rows =
    file === standardInput ? readRowsOf(addAbortSignal(signal, process.stdin), 'standard input') : readRows(file)
  let group: Row[] = []
  for await (const row of rows) {
    group.push(row)
    if (group.length < size) continue
    yield group
    group = []
  }
  if (group.length > 0) yield group
}
