import test, { type ExecutionContext } from 'ava'
import { script } from './script.js'

const { main } = await script<{ main(work: () => Promise<void>): Promise<void> }>('lib/terminal.mjs')

/** What a script that fails with this error prints. */
async function printed(t: ExecutionContext, error: Error): Promise<unknown> {
  const lines: unknown[] = []
  const { error: before } = console
  console.error = (line: unknown) => lines.push(line)
  try {
    await main(() => Promise.reject(error))
  } finally {
    console.error = before
  }
  t.is(process.exitCode, 1)
  process.exitCode = 0
  t.is(lines.length, 1)
  return lines[0]
}

test.serial("a script tells the library's errors without a stack, and shows defects whole", async (t) => {
  const wrong = Object.assign(new RangeError('rows[3]: expected at most 8 ids'), { code: 'ERR_OUT_OF_RANGE' })
  t.is(await printed(t, wrong), '\nrows[3]: expected at most 8 ids\n')
  const defect = new TypeError('x is undefined')
  t.is(await printed(t, defect), defect)
})
