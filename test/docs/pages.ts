import { readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { repository } from '../native/support.js'

/** README.md or a page of docs/. */
export interface Page {
  /** Below the repository: `docs/training.md`. */
  readonly path: string
  readonly text: string
}

export interface Block {
  /** The path of its page. */
  readonly page: string
  /** `ts`, `sh`, `jsonl`, … */
  readonly language: string
  /** What follows the language: a file's name. */
  readonly title: string
  readonly code: string
  /** Of its first line, from 1. */
  readonly line: number
}

const read = (path: string): Page => ({ path, text: readFileSync(join(repository, path), 'utf8') })

export const readme = read('README.md')

/** The first cells of every row of the table that begins with this head. */
export function tableRows({ text }: Page, head: string): string[] {
  const lines = text.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`))
  const rows: string[] = []
  for (const line of lines.slice(start + 2)) {
    if (start < 0 || !line.startsWith('|')) break
    rows.push(line.split('|')[1]?.trim() ?? '')
  }
  return rows
}

/**
 * README, then the others as its first table lists them. Their programs run in this order, in one folder: a program may read
 * what one before it wrote.
 */
export const pages: readonly Page[] = [
  readme,
  ...tableRows(readme, 'page').map((cell) => read(/\]\((.*)\)/.exec(cell)?.[1] ?? cell))
]

export function pageOf(path: string): Page {
  const page = pages.find((one) => one.path === path)
  if (page === undefined) throw new Error(`README's table of pages has no ${path}`)
  return page
}

/** The fenced blocks of a page in their order. */
export function codeBlocks({ path: page, text }: Page): Block[] {
  const blocks: Block[] = []
  let open: { page: string; language: string; title: string; line: number; code: string[] } | undefined
  text.split('\n').forEach((content, i) => {
    const fence = /^```(\w*) *(.*)$/.exec(content)
    if (fence === null) open?.code.push(content)
    else if (open === undefined) open = { page, language: fence[1] ?? '', title: fence[2] ?? '', line: i + 2, code: [] }
    else {
      blocks.push({ ...open, code: `${open.code.join('\n')}\n` })
      open = undefined
    }
  })
  if (open !== undefined) throw new Error(`The block of ${page}:${open.line} has no end`)
  return blocks
}

/** The commands of a shell block, those over several lines joined. */
export function commands({ code }: Block): string[] {
  const lines = code.replace(/\\\n\s*/g, '').split('\n')
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
}

/** A heading's anchor, as GitHub makes it. */
const anchorOf = (title: string): string =>
  title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-')

const withoutCode = (text: string): string => text.replace(/^```.*?^```$/gms, '')

/** The anchors of a page's headings. */
export function anchors({ text }: Page): string[] {
  return [...withoutCode(text).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => anchorOf(title))
}

/** Where a page's links lead, but for those to other sites: a path from the repository and an anchor, either may be ''. */
export function links({ path, text }: Page): { readonly target: string; readonly anchor: string }[] {
  const found = [...withoutCode(text).matchAll(/\]\(([^)\s]*)\)/g)].map(([, link = '']) => link)
  return found
    .filter((link) => !/^[a-z]+:/.test(link))
    .map((link) => {
      const [file = '', anchor = ''] = link.split('#')
      return { target: file === '' ? path : posix.join(posix.dirname(path), file), anchor }
    })
}
