import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { cacheRoom } from '../../lib/training/cache-room.js'
import { scratch } from '../model/support.js'

test('a cache takes what it may, though no more than half of what its disk has free beside its own files', (t) => {
  const folder = join(scratch(t), 'not', 'there', 'yet')
  t.is(
    cacheRoom(folder, 1000, () => 5000),
    1000
  )
  t.is(
    cacheRoom(folder, 4000, () => 5001),
    2500
  )
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'a'), Buffer.alloc(600))
  writeFileSync(join(folder, 'b'), Buffer.alloc(100))
  t.is(
    cacheRoom(folder, 4000, () => 5001),
    3200
  )
  t.is(
    cacheRoom(folder, 4000, () => 0),
    700
  )
  // Of the disk that is there.
  t.is(cacheRoom(folder, 1000), 1000)
})
