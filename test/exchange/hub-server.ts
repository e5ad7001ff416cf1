import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What the server does wrong, one after the other; then it does as it should. */
export type Fault = 'cut' | 'busy' | 'damage' | 'ignore range' | 'stall'

export interface HubServer {
  readonly endpoint: string
  /** `METHOD path range` of every request, in order. */
  readonly requests: string[]
  /** Faults for the next downloads of whole files. */
  readonly faults: Fault[]
  /** A token that every request must bring. */
  requiredToken: string | undefined
  /** Only what it answers with files then: the list is everybody's. */
  isGated: boolean
  /** What it says to those who bring no token. */
  withoutToken: number
  /** It answers everything with a page. */
  isPage: boolean
  /** It takes requests and answers none. */
  isSilent: boolean
  /** As huggingface.co it offers large files by Xet, too, to those who ask for it. */
  offersXet: boolean
  files: Record<string, Buffer>
  readonly commit: string
  close(): Promise<void>
}

const xetType = 'application/vnd.xet-fileinfo+json'

const sha = (algorithm: string, ...parts: (string | Buffer)[]) => {
  const hash = createHash(algorithm)
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

/** A server on loopback that speaks as much of the hub's protocol as a download needs. */
export async function startHub(repository: string, files: Record<string, Buffer>): Promise<HubServer> {
  const server = createServer((request, response) => answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const hub: HubServer = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    faults: [],
    requiredToken: undefined,
    ...{ isGated: false, withoutToken: 401, isPage: false, isSilent: false, offersXet: false },
    files,
    commit: sha('sha1', repository),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
  }

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(request.url ?? '').replace(/\?.*/, '')
    hub.requests.push([request.method, path, request.headers.range ?? ''].join(' ').trim())
    const { authorization } = request.headers
    const start = `/${repository}/resolve/${hub.commit}/`
    const file = path.startsWith(start) ? hub.files[path.slice(start.length)] : undefined
    const isClosed = hub.requiredToken !== undefined && (!hub.isGated || path.startsWith(start))
    if (hub.isSilent) return
    if (hub.isPage) {
      response.setHeader('Content-Type', 'text/html')
      response.end('<html>log in</html>')
    } else if (isClosed && authorization !== `Bearer ${hub.requiredToken}`) {
      refuse(response, authorization === undefined ? hub.withoutToken : 403, 'Access to this repository is restricted')
    } else if (path === `/api/models/${repository}/revision/main`) {
      json(response, { _id: '1', id: repository, sha: hub.commit })
    } else if (path === `/api/models/${repository}/tree/${hub.commit}`) {
      json(response, Object.entries(hub.files).map(entry))
    } else if (file === undefined) {
      refuse(response, 404, 'Repository not found')
    } else {
      serve(file, request, response)
    }
  }

  function serve(file: Buffer, request: IncomingMessage, response: ServerResponse): void {
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    const isProbe = request.headers.range === 'bytes=0-0'
    if (hub.offersXet && file.length > 1000 && request.headers.accept?.includes(xetType)) {
      const link = (rel: string) => `<${hub.endpoint}/xet/${rel}>; rel="${rel}"`
      response.setHeader('X-Linked-Size', file.length)
      response.setHeader('X-Linked-ETag', `"${sha('sha256', file)}"`)
      response.setHeader('X-Xet-Hash', sha('sha256', file))
      response.setHeader('Link', [link('xet-auth'), link('xet-reconstruction-info')].join(', '))
      response.setHeader('Content-Type', xetType)
      response.end('{}')
      return
    }
    const fault = isProbe ? undefined : hub.faults.shift()
    if (fault === 'busy') {
      refuse(response, 503, 'Try again')
      return
    }
    const ranged = request.headers.range !== undefined && fault !== 'ignore range'
    const first = ranged ? Number(from) : 0
    const last = ranged && to !== '' ? Number(to) : file.length - 1
    const body = Buffer.from(file.subarray(first, last + 1))
    response.setHeader('ETag', `"${sha('sha256', file)}"`)
    response.setHeader('Content-Length', body.length)
    if (ranged) response.setHeader('Content-Range', `bytes ${first}-${last}/${file.length}`)
    response.statusCode = ranged ? 206 : 200
    if (fault === 'damage') body.fill(0x58)
    if (fault === 'stall') {
      response.write(body.subarray(0, Math.floor(body.length / 2)))
    } else if (fault === 'cut') {
      response.write(body.subarray(0, Math.floor(body.length / 2)), () => setTimeout(() => response.destroy(), 50))
    } else {
      response.end(body)
    }
  }

  return hub
}

function entry([path, content]: [string, Buffer]): object {
  const isLarge = content.length > 1000
  const oid = sha('sha1', `blob ${content.length}\0`, content)
  const lfs = isLarge ? { lfs: { oid: sha('sha256', content), size: content.length, pointerSize: 130 } } : {}
  return { type: 'file', path, size: content.length, oid, ...lfs }
}

function json(response: ServerResponse, body: unknown): void {
  response.setHeader('Content-Type', 'application/json')
  response.end(JSON.stringify(body))
}

function refuse(response: ServerResponse, status: number, error: string): void {
  response.statusCode = status
  json(response, { error })
}
