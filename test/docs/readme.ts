import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { repository } from '../native/support.js'

export interface Block {
  /** `ts`, `sh`, `jsonl`, … */
  readonly language: string
  /** What follows the language: a file's name. */
  readonly title: string
  readonly code: string
  /** Of its first line, from 1. */
  readonly line: number
}

export const readme = readFileSync(join(repository, 'README.md'), 'utf8')

/** The fenced blocks of a page in their order. */
export function codeBlocks(text: string): Block[] {
  const blocks: Block[] = []
  let open: { language: string; title: string; line: number; code: string[] } | undefined
  text.split('\n').forEach((content, i) => {
    const fence = /^```(\w*) *(.*)$/.exec(content)
    if (fence === null) open?.code.push(content)
    else if (open === undefined) open = { language: fence[1] ?? '', title: fence[2] ?? '', line: i + 2, code: [] }
    else {
      blocks.push({ ...open, code: `${open.code.join('\n')}\n` })
      open = undefined
    }
  })
  if (open !== undefined) throw new Error(`The block of line ${open.line} has no end`)
  return blocks
}

/** The commands of a shell block, those over several lines joined. */
export function commands({ code }: Block): string[] {
  const lines = code.replace(/\\\n\s*/g, '').split('\n')
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
}

/** The first cells of every row of the tables that begin with this head. */
export function tableRows(text: string, head: string): string[] {
  const lines = text.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`))
  const rows: string[] = []
  for (const line of lines.slice(start + 2)) {
    if (start < 0 || !line.startsWith('|')) break
    rows.push(line.split('|')[1]?.trim() ?? '')
  }
  return rows
}
