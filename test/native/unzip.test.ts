import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { unzip } from '../../lib/native/unzip.js'
import { temporaryFolder, type ZipEntry, zip } from './support.js'

const large = Buffer.alloc(5 << 20, 'libtorch ')

async function unpack(
  folder: string,
  bytes: Buffer,
  place = (name: string): string | undefined => name
): Promise<string> {
  const file = join(folder, 'archive.zip')
  writeFileSync(file, bytes)
  await unzip(file, join(folder, 'out'), place)
  return join(folder, 'out')
}

test('small, large, stored, packed and empty files come out as they went in', async (t) => {
  const folder = temporaryFolder(t)
  const entries: ZipEntry[] = [
    { name: 'torch/include/a.h', data: Buffer.from('#pragma once') },
    { name: 'torch/lib/large', data: large },
    { name: 'torch/lib/stored', data: large, stored: true },
    { name: 'torch/empty', data: Buffer.alloc(0), stored: true },
    { name: 'torch/share/', data: Buffer.alloc(0), stored: true },
    { name: 'torch/not-wanted', data: Buffer.from('x') }
  ]
  const out = await unpack(folder, zip(entries), (name) => (name.endsWith('not-wanted') ? undefined : name))
  for (const { name, data } of entries.slice(0, 4)) t.true(readFileSync(join(out, name)).equals(data), name)
  t.false(existsSync(join(out, 'torch/not-wanted')))
})

test('progress ends at the total', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(
    join(folder, 'a.zip'),
    zip([
      { name: 'a', data: large },
      { name: 'b', data: Buffer.from('b') }
    ])
  )
  const seen: number[][] = []
  await unzip(
    join(folder, 'a.zip'),
    folder,
    (name) => name,
    (done, total) => seen.push([done, total])
  )
  t.deepEqual(seen.at(-1), [large.length + 1, large.length + 1])
})

for (const [what, entry] of [
  ['small', { name: 'a', data: Buffer.from('hello'), crc: 1 }],
  ['large', { name: 'a', data: large, crc: 1 }],
  ['small and longer than announced', { name: 'a', data: Buffer.from('hello'), size: 2 }],
  ['large and longer than announced', { name: 'a', data: large, size: (4 << 20) + 1 }],
  ['large and shorter than announced', { name: 'a', data: large, size: 6 << 20 }]
] as const) {
  test(`a damaged entry is refused: ${what}`, async (t) => {
    const error = await t.throwsAsync(unpack(temporaryFolder(t), zip([entry])), { code: 'ERR_ARCHIVE' })
    t.regex(error?.message ?? '', /entry 'a'/)
  })
}

for (const name of ['../outside', 'a/../../outside', '/etc/outside', 'C:\\outside', '..\\outside']) {
  test(`a name that leaves the folder is refused: ${name}`, async (t) => {
    const folder = temporaryFolder(t)
    const error = await t.throwsAsync(unpack(folder, zip([{ name, data: Buffer.from('x') }])), { code: 'ERR_ARCHIVE' })
    t.regex(error?.message ?? '', /leaves the folder/)
    t.false(existsSync(join(folder, 'outside')))
  })
}

test('a cut-off archive is refused wherever it ends', async (t) => {
  const folder = temporaryFolder(t)
  const whole = zip([
    { name: 'a', data: Buffer.from('hello') },
    { name: 'b', data: Buffer.from('world') }
  ])
  for (let length = 0; length < whole.length; length++) {
    await t.throwsAsync(unpack(folder, whole.subarray(0, length)), { code: 'ERR_ARCHIVE' }, `cut at ${length}`)
  }
})
