import { createHash } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { download } from '../../lib/native/download.js'
import { temporaryFolder } from './support.js'

const content = Buffer.alloc(300_000, 'the archive of libtorch, ')
const sha256 = createHash('sha256').update(content).digest('hex')

async function serve(
  t: ExecutionContext,
  answer: (request: IncomingMessage, response: ServerResponse) => void
): Promise<string> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/libtorch.zip`
}

function answerRange(request: IncomingMessage, response: ServerResponse): void {
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': content.length - from })
  response.end(content.subarray(from))
}

test('downloads, checks and renames', async (t) => {
  const file = join(temporaryFolder(t), 'deep', 'libtorch.zip')
  const url = await serve(t, answerRange)
  await download({ url, sha256, bytes: content.length }, file)
  t.true(readFileSync(file).equals(content))
  t.false(existsSync(`${file}.part`))
})

test('a broken connection leaves a part that the next call continues', async (t) => {
  const file = join(temporaryFolder(t), 'libtorch.zip')
  const ranges: (string | undefined)[] = []
  const url = await serve(t, (request, response) => {
    ranges.push(request.headers.range)
    if (ranges.length > 1) return answerRange(request, response)
    response.writeHead(200, { 'content-length': content.length })
    response.write(content.subarray(0, 100_000))
    const part = () => statSync(`${file}.part`, { throwIfNoEntry: false })?.size ?? 0
    const watching = setInterval(() => {
      if (part() === 0) return
      clearInterval(watching)
      response.destroy()
    }, 10)
  })
  const request = { url, sha256, bytes: content.length }
  await t.throwsAsync(download(request, file), { code: 'ERR_DOWNLOAD' })
  const have = readFileSync(`${file}.part`).length
  t.true(have > 0 && have <= 100_000)
  t.false(existsSync(file))
  await download(request, file)
  t.true(readFileSync(file).equals(content))
  t.deepEqual(ranges, [undefined, `bytes=${have}-`])
})

test('a server that knows no ranges starts over', async (t) => {
  const file = join(temporaryFolder(t), 'libtorch.zip')
  writeFileSync(`${file}.part`, 'stale beginning')
  const url = await serve(t, (_request, response) => response.end(content))
  await download({ url, sha256, bytes: content.length }, file)
  t.true(readFileSync(file).equals(content))
})

test('a wrong checksum keeps nothing', async (t) => {
  const file = join(temporaryFolder(t), 'libtorch.zip')
  const url = await serve(t, answerRange)
  const wrong = '0'.repeat(64)
  const error = await t.throwsAsync(download({ url, sha256: wrong, bytes: content.length }, file), {
    code: 'ERR_CHECKSUM'
  })
  t.true(error?.message.includes(wrong) && error.message.includes(sha256))
  t.false(existsSync(file) || existsSync(`${file}.part`))
})

test('an answer other than the file is named', async (t) => {
  const file = join(temporaryFolder(t), 'libtorch.zip')
  const url = await serve(t, (_request, response) => response.writeHead(404).end('no such file'))
  await t.throwsAsync(download({ url, sha256, bytes: content.length }, file), {
    code: 'ERR_DOWNLOAD',
    message: /answered 404/
  })
})

test('a longer answer is cut off, not filled into the disk', async (t) => {
  const file = join(temporaryFolder(t), 'libtorch.zip')
  // It does not say beforehand how much comes.
  const url = await serve(t, (_, response) => {
    response.write(content.subarray(0, 2000))
    response.end(content)
  })
  await t.throwsAsync(download({ url, sha256, bytes: 1000 }, file), {
    code: 'ERR_DOWNLOAD',
    message: /more than 1000 bytes/
  })
})

test.serial('a silent server is given up', async (t) => {
  const file = join(temporaryFolder(t), 'libtorch.zip')
  const url = await serve(t, () => {})
  process.env['TORCH_ADAPTERS_TIMEOUT'] = '0.3'
  t.teardown(() => delete process.env['TORCH_ADAPTERS_TIMEOUT'])
  await t.throwsAsync(download({ url, sha256, bytes: content.length }, file), { message: /nothing came for 0.3 s/ })
})

test('a file that is whole already is not asked for again', async (t) => {
  const file = join(temporaryFolder(t), 'libtorch.zip')
  writeFileSync(file, content)
  await t.notThrowsAsync(download({ url: 'http://127.0.0.1:1/', sha256, bytes: content.length }, file))
})

test('a page that is offered in place of the file is not taken, and what came before stays', async (t) => {
  const file = join(temporaryFolder(t), 'libtorch.zip')
  const url = await serve(t, (_, response) => response.end('<html>log in, please</html>'))
  writeFileSync(`${file}.part`, content.subarray(0, 1000))
  await t.throwsAsync(download({ url, sha256, bytes: content.length }, file), {
    code: 'ERR_DOWNLOAD',
    message: /27 bytes are offered, not 300000\. Does a proxy or a login page stand in between\?/
  })
  t.true(readFileSync(`${file}.part`).equals(content.subarray(0, 1000)))
})
