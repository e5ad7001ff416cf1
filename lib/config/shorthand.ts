import { valueError } from './check.js'

/**
 * The config mini-language: `name[key=value, …]|name2[…]`.
 *
 *   union  := part ('|' part)*
 *   part   := name ('[' (key '=' value (',' key '=' value)* ','?)? ']')?
 *   value  := string | number | True | False | None | list | tuple | dict
 *
 * Values are Python literals. A `|`, `=` or bracket inside a quoted string or a nested value is just a character: this
 * is a parser, not a split.
 */

export type ShorthandValue =
  | string
  | number
  | boolean
  | null
  | readonly ShorthandValue[]
  | { readonly [key: string]: ShorthandValue }

export interface ShorthandPart {
  readonly name: string
  /** Where the name begins in the text, from 0. */
  readonly position: number
  readonly values: Readonly<Record<string, ShorthandValue>>
}

const longestText = 10_000
const deepestNesting = 16

const constants: Readonly<Record<string, boolean | null>> = {
  True: true,
  False: false,
  None: null,
  true: true,
  false: false,
  null: null
}

const escapes: Readonly<Record<string, string>> = {
  '\\': '\\',
  "'": "'",
  '"': '"',
  n: '\n',
  t: '\t',
  r: '\r',
  b: '\b',
  f: '\f',
  v: '\v',
  a: '\x07'
}

export function parseShorthand(text: string): readonly ShorthandPart[] {
  if (text.length > longestText) {
    throw valueError('adapter config', `a shorthand has at most ${longestText} characters, got ${text.length}`)
  }
  return new Parser(text).union()
}

class Parser {
  private at = 0

  constructor(private readonly text: string) {}

  union(): readonly ShorthandPart[] {
    const parts = [this.part()]
    while (this.take('|')) parts.push(this.part())
    if (this.at < this.text.length) this.fail("'[', '|' or the end")
    return parts
  }

  private part(): ShorthandPart {
    this.space()
    const position = this.at
    const name = this.match(/[^[\]|,=\n]+/y)?.trimEnd()
    if (!name) this.fail('the name of an adapter config')
    const values = this.take('[') ? this.pairs() : {}
    this.space()
    return Object.freeze({ name, position, values })
  }

  private pairs(): Readonly<Record<string, ShorthandValue>> {
    const entries = new Map<string, ShorthandValue>()
    while (!this.take(']')) {
      this.space()
      const position = this.at
      const key = this.match(/[A-Za-z_]\w*/y)
      if (key === undefined) this.fail("a field's name or ']'")
      if (entries.has(key)) this.fail(`each field once, but '${key}' is there twice`, position)
      this.expect('=', `'=' after '${key}'`)
      entries.set(key, this.value(0))
      if (!this.take(',') && !this.peek(']')) this.fail("',' or ']'")
    }
    return Object.freeze(Object.fromEntries(entries))
  }

  private value(depth: number): ShorthandValue {
    if (depth > deepestNesting) this.fail(`at most ${deepestNesting} nested brackets`)
    this.space()
    const first = this.text[this.at]
    if (first === "'" || first === '"') return this.quoted(first)
    if (this.take('[')) return this.list(']', depth)
    if (this.take('(')) return this.parenthesised(depth)
    if (this.take('{')) return this.dict(depth)
    const number = this.match(/[+-]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w)/y)
    if (number !== undefined) return Number(number.replaceAll('_', ''))
    const position = this.at
    const word = this.match(/[A-Za-z_]\w*/y)
    if (word !== undefined && Object.hasOwn(constants, word)) return constants[word] ?? null
    if (word !== undefined) this.fail(`True, False, None, a number or a quoted string ('${word}')`, position)
    return this.fail('a value: a number, a quoted string, True, False, None, a list or a dict')
  }

  private list(close: ']' | ')', depth: number): readonly ShorthandValue[] {
    const items: ShorthandValue[] = []
    while (!this.take(close)) {
      items.push(this.value(depth + 1))
      if (!this.take(',') && !this.peek(close)) this.fail(`',' or '${close}'`)
    }
    return Object.freeze(items)
  }

  /** A tuple, or with no comma in it what stands in it. */
  private parenthesised(depth: number): ShorthandValue {
    const from = this.at
    const items = this.list(')', depth)
    const isTuple = items.length !== 1 || /,\s*\)$/.test(this.text.slice(from, this.at))
    return isTuple ? items : (items[0] as ShorthandValue)
  }

  private dict(depth: number): { readonly [key: string]: ShorthandValue } {
    const entries = new Map<string, ShorthandValue>()
    while (!this.take('}')) {
      this.space()
      const position = this.at
      const key = this.value(depth + 1)
      if (typeof key !== 'string' && typeof key !== 'number') this.fail('a string or a number as key', position)
      this.expect(':', "':' after the key")
      entries.set(String(key), this.value(depth + 1))
      if (!this.take(',') && !this.peek('}')) this.fail("',' or '}'")
    }
    return Object.freeze(Object.fromEntries(entries))
  }

  private quoted(quote: string): string {
    const start = this.at++
    let result = ''
    for (;;) {
      const character = this.text[this.at]
      if (character === undefined || character === '\n') this.fail(`the closing ${quote} of the string`, start)
      this.at++
      if (character === quote) return result
      result += character === '\\' ? this.escape() : character
    }
  }

  /** Python's rule: an escape that means nothing keeps its backslash. */
  private escape(): string {
    const code = this.match(/x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(0010[0-9a-fA-F]{4}|000[0-9a-fA-F]{5})/y)
    if (code !== undefined) return String.fromCodePoint(Number.parseInt(code.slice(1), 16))
    const letter = this.text[this.at++] ?? ''
    return escapes[letter] ?? `\\${letter}`
  }

  private space(): void {
    this.match(/[ \t\r\n]+/y)
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0]
    if (found !== undefined) this.at += found.length
    return found
  }

  private peek(character: string): boolean {
    this.space()
    return this.text[this.at] === character
  }

  private take(character: string): boolean {
    const found = this.peek(character)
    if (found) this.at++
    return found
  }

  private expect(character: string, expected: string): void {
    if (!this.take(character)) this.fail(expected)
  }

  private fail(expected: string, position = this.at): never {
    const got =
      position < this.text.length
        ? `'${/^.[^\],|]{0,39}/su.exec(this.text.slice(position))?.[0]}'`
        : 'the end of the text'
    const shown = this.text.length > 120 ? `${this.text.slice(0, 117)}...` : this.text
    throw valueError('adapter config', `at position ${position + 1} of "${shown}": expected ${expected}, got ${got}`)
  }
}
