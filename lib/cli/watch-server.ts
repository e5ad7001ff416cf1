import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { usageError } from './arguments.js'
import { contentSecurityPolicy, watchPage } from './watch-page.js'
import { RunReader } from './watch-runs.js'

const host = '127.0.0.1'

/** Names by which this machine may be asked: a page from elsewhere whose name leads here has another. */
const localNames = ['127.0.0.1', 'localhost', '[::1]']

/** Serves the page of the runs below a folder to this machine alone. */
export async function startWatching(
  folder: string,
  port: number | undefined
): Promise<{ url: string; server: Server }> {
  const reader = new RunReader(folder)
  const server = createServer((request, response) => answer(reader, request, response))
  try {
    await listen(server, port ?? defaultPort)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EADDRINUSE' && code !== 'EACCES') throw error
    if (port !== undefined) throw usageError(`--port: ${port} is taken or not allowed; give another, or none`)
    await listen(server, 0)
  }
  return { url: `http://${host}:${(server.address() as AddressInfo).port}/`, server }
}

/** Beside TensorBoard's. */
const defaultPort = 6007

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function answer(reader: RunReader, request: IncomingMessage, response: ServerResponse): void {
  // No URL: one that begins with two slashes, or is none, would name another host or throw.
  const [path, query = ''] = (request.url ?? '/').split('?', 2)
  const refused = refusal(request, path)
  if (refused !== undefined) {
    const [status, text] = refused
    response.writeHead(status, { ...headers, 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
    return
  }
  const page = watchPage(reader.folder, reader.read(), new URLSearchParams(query).getAll('run'))
  response.writeHead(200, { ...headers, 'content-type': 'text/html; charset=utf-8' })
  response.end(request.method === 'HEAD' ? undefined : page)
}

function refusal({ headers, method }: IncomingMessage, path: string | undefined): [number, string] | undefined {
  const name = headers.host?.replace(/:\d+$/, '') ?? ''
  if (!localNames.includes(name)) return [403, 'This page is for this machine alone.']
  if (method !== 'GET' && method !== 'HEAD') return [405, 'This page can only be read.']
  return path === '/' ? undefined : [404, 'There is nothing here.']
}

const headers = {
  'content-security-policy': contentSecurityPolicy,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store'
}
