import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync
} from 'node:fs'
import { request } from 'node:http'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { lineText, type RunLine } from '../../lib/training/record/lines.js'
import { findBrowser, openPage } from '../support/browser.js'
import { startProcess } from '../support/process.js'
import { command } from './command.js'

const time = (second: number) => new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString()

/** A run's first lines, as if it had begun at this second and were still there. */
function begun(name: string, second: number): RunLine[] {
  return [
    {
      ...{ type: 'start', time: time(second), step: 0, totalSteps: 100, name, args: { learningRate: 1e-3 }, model: {} },
      parameters: [
        { part: 'base model', total: 1000, trained: 0 },
        { part: 'all', total: 1100, trained: 100 }
      ],
      ...{ versions: {}, rows: { train: 8, evaluation: 8 }, process: { pid: process.pid, host: hostname() } }
    },
    ...steps(1, 20, second)
  ]
}

function steps(from: number, to: number, second: number): RunLine[] {
  return Array.from({ length: to - from + 1 }, (_, i): RunLine => {
    const step = from + i
    const common = { step, totalSteps: 100, epoch: step / 50, learningRate: 1e-3 * (1 - step / 100), gradNorm: 1 }
    return { type: 'steps', time: time(second + step), ...common, loss: 2 / step + second / 1000, tokens: 64, rows: 4 }
  })
}

const evaluation = (step: number, second: number): RunLine => ({
  ...{ type: 'evaluate', time: time(second + step), step, epoch: step / 50, loss: 0.5, metrics: { accuracy: 0.75 } },
  ...{ rows: 8, seconds: 1 }
})

function write(folder: string, lines: readonly RunLine[]): void {
  mkdirSync(folder, { recursive: true })
  appendFileSync(join(folder, 'events.jsonl'), lines.map(lineText).join(''))
}

interface Watching {
  readonly url: string
  readonly ended: ReturnType<typeof startProcess>['ended']
  kill(): void
}

async function watch(t: ExecutionContext, folder: string): Promise<Watching> {
  const args = ['dist/lib/cli/main.js', 'watch', folder, '--port', '0', '--json']
  return await new Promise((resolve) => {
    const { ended, kill } = startProcess(process.execPath, args, {
      onText: ({ texts }) => {
        if (!texts.stdout.includes('\n')) return
        const { url } = JSON.parse(texts.stdout)
        t.regex(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
        resolve({ url, ended, kill: () => kill('SIGINT') })
      }
    })
    t.teardown(() => kill('SIGKILL'))
  })
}

const scratch = () => mkdtempSync(join(tmpdir(), 'torch-adapters-watch-'))
const evil = `<img src=x onerror="document.title='taken'">`

test('a run of another machine is running while its lock there gives signs of life', async (t) => {
  const folder = scratch()
  const [start, ...rest] = begun('far', 0)
  const process = { pid: 7, host: 'another-machine' }
  write(join(folder, 'far'), [{ ...start, process } as RunLine, ...rest])
  const lock = join(folder, 'far', '.run.lock')
  const { url, ended, kill } = await watch(t, folder)
  const status = async () => /<td>\W (\w+)<\/td><td>20 \/ 100/.exec(await (await fetch(url)).text())?.[1]
  // It never came to its lock, or let it go without a word.
  t.is(await status(), 'lost')
  writeFileSync(lock, JSON.stringify(process))
  t.is(await status(), 'running')
  const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000)
  utimesSync(lock, ago(2), ago(2))
  t.is(await status(), 'running')
  utimesSync(lock, ago(4), ago(4))
  t.is(await status(), 'lost')
  // Another run has the folder now, and has written nothing yet.
  writeFileSync(lock, JSON.stringify({ ...process, pid: 8 }))
  t.is(await status(), 'lost')
  rmSync(lock)
  write(join(folder, 'far'), [{ type: 'stopped', time: time(40), step: 20 }])
  t.is(await status(), 'stopped')
  kill()
  await ended
})

test('the page lists the runs below a folder and follows them', async (t) => {
  const folder = scratch()
  write(join(folder, 'first'), begun('first', 0))
  write(join(folder, 'group', 'second'), [...begun('second', 500), evaluation(20, 500)])
  write(join(folder, 'first', 'checkpoint-3'), begun('never', 0))
  write(join(folder, evil), begun(evil, 100))
  symlinkSync(join(folder, 'first'), join(folder, 'link'))
  writeFileSync(join(folder, 'group', 'events.jsonl'), 'no line\n{"type":"start"}\n')
  const { url, ended, kill } = await watch(t, folder)
  const get = async (query = '') => await (await fetch(url + query)).text()
  const page = await get()
  const names = [...page.matchAll(/name="run" value="([^"]*)"/g)].map((match) => match[1])
  t.deepEqual(names, [
    'group/second',
    '&lt;img src=x onerror=&quot;document.title=&#39;taken&#39;&quot;&gt;',
    'first',
    'group'
  ])
  t.notRegex(page, /<img|onerror="|src="|href=/)
  t.is(page.match(/<script>/g)?.length, 1)
  // The one that began last is shown.
  t.regex(
    page,
    /<h2>group\/second<\/h2>\n<p>running: step 20 of 100, epoch 0\.40, loss 0\.6, 64 tokens\/s, 4 rows\/s, 1 min 20 s left/
  )
  t.regex(
    page,
    /<td>▶ running<\/td><td>20 \/ 100<\/td><td>0\.40<\/td><td>0\.6000<\/td><td>0\.5000<\/td><td>accuracy 0\.7500<\/td><td>64<\/td><td>4\.0<\/td><td>1 min 20 s<\/td>/
  )
  t.regex(page, /<td>\? lost<\/td><td>0 \/ <\/td>/)
  const first = await get('?run=first')
  t.regex(first, /<h2>first<\/h2>/)
  t.false(first.includes('Evaluation accuracy'))
  write(join(folder, 'first'), [
    evaluation(20, 0),
    ...steps(21, 30, 0),
    { type: 'failed', time: time(31), step: 30, message: `no <b>memory` }
  ])
  const later = await get('?run=first')
  t.true(later.includes('<title>Evaluation accuracy</title>'))
  t.regex(later, /<p>failed: step 30 of 100, [^<]*no &lt;b&gt;memory/)
  // Two in one chart, each under its name; what is not there is not asked for in vain.
  const both = await get('?run=first&run=group%2Fsecond&run=..%2F..')
  const loss = /<title>Loss<\/title>[\s\S]*?<\/svg>/.exec(both)?.[0] ?? ''
  for (const name of ['first', 'group/second']) t.true(loss.includes(`>${name}</text>`), name)
  t.is(loss.match(/<polyline/g)?.length, 4)
  t.regex(await get('?run=..%2F..'), /<h2>group\/second<\/h2>/)
  kill()
  t.is((await ended).code, 0)
})

test('only this machine reads it, and nothing else than the page is there', async (t) => {
  const { url } = await watch(t, scratch())
  t.regex(await (await fetch(url)).text(), /There are no runs yet/)
  const { port } = new URL(url)
  const ask = (path: string, options: { method?: string; headers?: Record<string, string> } = {}) =>
    new Promise<{ status: number | undefined; policy: unknown }>((resolve, reject) => {
      const sent = request({ host: '127.0.0.1', port, path, ...options }, (answer) => {
        answer.resume()
        resolve({ status: answer.statusCode, policy: answer.headers['content-security-policy'] })
      })
      sent.once('error', reject).end()
    })
  t.is((await ask('/', { headers: { host: 'evil.example' } })).status, 403)
  t.is((await ask('/', { headers: { host: `evil.example:${port}` } })).status, 403)
  t.is((await ask('/', { headers: { host: `localhost:${port}` } })).status, 200)
  t.is((await ask('/', { method: 'POST' })).status, 405)
  t.is((await ask('/../../etc/passwd')).status, 404)
  t.is((await ask('/events.jsonl')).status, 404)
  for (const path of ['//x', '//[', '*']) t.is((await ask(path)).status, 404, path)
  t.regex(String((await ask('/')).policy), /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-/)
})

test('mistakes are told at once', async (t) => {
  const file = join(scratch(), 'file')
  writeFileSync(file, '')
  for (const [args, message] of [
    [['nowhere'], /expected a folder with runs, got nowhere, which is none/],
    [[file], /which is none/],
    [['.', '.'], /expected \[FOLDER\], got \. \./],
    [['--port', 'many'], /--port: expected a number, got 'many'/],
    [['--port', '99999'], /--port: expected a number from 0 to 65535/]
  ] as const) {
    const { status, errors } = await command(['watch', ...args])
    t.is(status, 2)
    t.regex(errors, message)
  }
})

const browser = findBrowser()
const inBrowser = browser === undefined ? test.skip : test

inBrowser(
  'in Chromium: it follows a run, compares two by the keyboard, and runs nothing of theirs [needs CHROMIUM or chromium]',
  async (t) => {
    const folder = scratch()
    write(join(folder, 'first'), [...begun('first', 0), evaluation(10, 0)])
    write(join(folder, evil), begun(evil, 500))
    const { url } = await watch(t, folder)
    const page = await openPage(browser ?? '', url)
    try {
      await page.until(`document.querySelectorAll('svg').length > 0`)
      t.is(await page.evaluate(`document.querySelectorAll('input').length`), 2)
      t.is(await page.evaluate(`document.querySelector('h2').textContent`), evil)
      t.is(await page.evaluate('document.images.length'), 0)
      // A new line appears without anybody's doing.
      write(join(folder, evil), [...steps(21, 40, 500), { type: 'stopped', time: time(541), step: 40 }])
      await page.until(`document.querySelector('main p').textContent.startsWith('stopped: step 40')`)
      // A box is marked with the space bar: both runs stand in one chart, and the focus stays.
      await page.evaluate(`document.querySelector('input[value=first]').focus()`)
      for (const type of ['keyDown', 'keyUp'])
        await page.send('Input.dispatchKeyEvent', {
          type,
          key: ' ',
          code: 'Space',
          text: type === 'keyDown' ? ' ' : ''
        })
      await page.until(`document.querySelector('svg').querySelectorAll('polyline').length === 3`)
      t.is(await page.evaluate('document.activeElement.value'), 'first')
      t.is(await page.evaluate(`new URL(location.href).searchParams.getAll('run').length`), 2)
      t.is(await page.evaluate('document.title'), `Runs in ${folder}`)
      // Ink and ground are far apart in either scheme.
      for (const scheme of ['light', 'dark']) {
        await page.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] })
        const shades = `[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.soft')).fill, getComputedStyle(document.querySelector('.back')).fill]`
        const [ink, ground, soft, back] = (await page.evaluate(shades)) as string[]
        t.true(contrast(ink, ground) > 7, scheme)
        t.true(contrast(soft, back) > 4.5, scheme)
        t.is(ground, back)
        const picture = process.env['WATCH_PICTURES']
        if (picture === undefined) continue
        const { data } = await page.send('Page.captureScreenshot', { format: 'png' })
        writeFileSync(join(picture, `watch-${scheme}.png`), Buffer.from(data as string, 'base64'))
      }
      t.deepEqual(page.problems, [])
      // A run that is removed leaves the list.
      renameSync(join(folder, 'first'), join(folder, '.gone'))
      await page.until(`document.querySelectorAll('input').length === 1`)
    } finally {
      await page.close()
    }
  }
)

/** WCAG's, of two colours as `rgb(1, 2, 3)`. */
function contrast(a = '', b = ''): number {
  const light = (colour: string) => {
    const [red = 0, green = 0, blue = 0] = (colour.match(/\d+/g) ?? []).map((part) => {
      const share = Number(part) / 255
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  const [low, high] = [light(a), light(b)].sort((x, y) => x - y) as [number, number]
  return (high + 0.05) / (low + 0.05)
}
