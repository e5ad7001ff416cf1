import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

/** A Chromium of this machine: $CHROMIUM, or one by its usual names. Undefined: there is none. */
export function findBrowser(): string | undefined {
  const names = [process.env['CHROMIUM'], 'chromium', 'chromium-browser', 'google-chrome', 'chrome']
  return names.find((name) => name !== undefined && name !== '' && spawnSync(name, ['--version']).status === 0)
}

/** One page of a browser without a window. */
export interface Page {
  /** The value of an expression. */
  evaluate(expression: string): Promise<unknown>
  /** Waits until an expression is true. */
  until(expression: string): Promise<void>
  /** Of what its devtools tell: errors of scripts and of the content security policy. */
  readonly problems: readonly string[]
  send(method: string, params?: object): Promise<Readonly<Record<string, unknown>>>
  close(): Promise<void>
}

interface Message {
  readonly id?: number
  readonly method?: string
  readonly params?: unknown
  readonly result?: Readonly<Record<string, unknown>>
  readonly error?: { readonly message: string }
}

/** Opens a page, speaking with the browser's devtools over two pipes: JSON, each message ended by a zero byte. */
export async function openPage(browser: string, url: string): Promise<Page> {
  const profile = mkdtempSync(join(tmpdir(), 'torch-adapters-browser-'))
  const flags = [
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--remote-debugging-pipe',
    '--window-size=1280,1100'
  ]
  const child = spawn(browser, [...flags, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']
  })
  const input = child.stdio[3] as Writable
  const output = child.stdio[4] as Readable
  const waiting = new Map<number, { resolve: (message: Message) => void; reject: (error: Error) => void }>()
  const problems: string[] = []
  const take = (message: Message) => {
    if (message.id !== undefined) waiting.get(message.id)?.resolve(message)
    else if (/exceptionThrown|entryAdded/.test(message.method ?? '')) problems.push(JSON.stringify(message.params))
  }
  let text = ''
  output.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (text + chunk).split('\0')
    text = parts.pop() ?? ''
    for (const part of parts) take(JSON.parse(part))
  })
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => {
      for (const { reject } of waiting.values()) reject(new Error('the browser ended'))
      resolve()
    })
  })
  let count = 0
  const ask = async (method: string, params: object, sessionId?: string) => {
    const id = ++count
    const answer = new Promise<Message>((resolve, reject) => waiting.set(id, { resolve, reject }))
    input.write(`${JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) })}\0`)
    const { result = {}, error } = await answer
    waiting.delete(id)
    if (error) throw new Error(`${method}: ${error.message}`)
    return result
  }
  const { targetId } = await ask('Target.createTarget', { url: 'about:blank' })
  const { sessionId } = await ask('Target.attachToTarget', { targetId, flatten: true })
  const send = (method: string, params: object = {}) => ask(method, params, sessionId as string)
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`)
  await send('Page.navigate', { url })
  const evaluate = async (expression: string) => {
    const { result, exceptionDetails } = await send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true
    })
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails))
    return (result as { value?: unknown }).value
  }
  return {
    evaluate,
    problems,
    send,
    async until(expression) {
      for (let tries = 0; (await evaluate(expression)) !== true; tries++) {
        if (tries > 300) throw new Error(`never true: ${expression}`)
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    },
    async close() {
      child.kill()
      await ended
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    }
  }
}
