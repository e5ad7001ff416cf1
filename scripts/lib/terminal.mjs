// What the scripts print: one line a step with its time, a bar where it lasts, paragraphs for what is missing.
import { realpathSync } from 'node:fs'
import { stdout } from 'node:process'
import { fileURLToPath } from 'node:url'

const live = stdout.isTTY === true && !process.env.CI

/** Thrown for what the user has to mend: printed as one paragraph, without a stack. */
export class Problem extends Error {}

export const seconds = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`

const bytes = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(2)} GB` : `${Math.round(n / 1e6)} MB`)

// Wraps to the terminal's width, so that a paragraph stays readable.
export function wrap(text, width = Math.min(stdout.columns ?? 100, 100)) {
  const lines = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line && line.length + word.length + 1 > width) {
      lines.push(line)
      line = word
    } else line = line ? `${line} ${word}` : word
  }
  return [...lines, line].join('\n')
}

function draw(name, done, total, unit) {
  const share = total > 0 ? Math.min(done / total, 1) : 0
  const counts = unit === 'bytes' ? `${bytes(done)} / ${bytes(total)}` : `${done} / ${total} ${unit}`
  const filled = Math.round(share * 24)
  return `  ${name}  [${'█'.repeat(filled)}${'░'.repeat(24 - filled)}] ${String(Math.floor(share * 100)).padStart(3)} %  ${counts}`
}

/**
 * Runs one step. `work` gets { note(text), progress(done, total, unit) } and may return a word on what it did.
 * A terminal shows a bar that is overwritten; anything else gets a plain line every ten seconds.
 */
export async function step(name, work) {
  const start = performance.now()
  let lastLine = start
  const clear = () => live && stdout.write('\r\x1b[2K')
  const note = (text) => {
    clear()
    console.log(`  ${name}: ${text}`)
  }
  const progress = (done, total, unit) => {
    const now = performance.now()
    if (now - lastLine < (live ? 100 : 10_000)) return
    lastLine = now
    if (live) stdout.write(`\r\x1b[2K${draw(name, done, total, unit)}`)
    else console.log(draw(name, done, total, unit))
  }
  try {
    const did = await work({ note, progress })
    clear()
    console.log(`✓ ${name}: ${did ?? 'done'} (${seconds(start)})`)
  } catch (error) {
    clear()
    console.log(`✗ ${name} (${seconds(start)})`)
    throw error
  }
}

/** True for the script that node was started with; it may have been named through a link. */
export function isMain(url) {
  return process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(url)
}

/** Errors of the library carry a code; they are for people, as problems are. */
const isTold = (error) => error instanceof Problem || String(error?.code).startsWith('ERR_')

/** Runs a script's main function: problems of the user become a paragraph and exit status 1. */
export async function main(work) {
  try {
    process.exitCode = (await work()) ?? 0
  } catch (error) {
    if (isTold(error)) console.error(`\n${wrap(error.message)}\n`)
    else console.error(error)
    process.exitCode = 1
  }
}
