// Archives of torch.export and their cases lie gzipped in test/parity/fixtures/exported and exported-own: unpacked, they
// would be a third of all fixtures.
//   node scripts/lib/unpack-fixtures.mjs      unpacks them to build/fixtures, for the C++ tests
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { root } from './run.mjs'

/** Unpacks what is not there yet or is older; gives the folder of those of `exported`. */
export function unpackFixtures() {
  unpack('exported-own')
  return unpack('exported')
}

function unpack(folder) {
  const source = join(root, 'test', 'parity', 'fixtures', folder)
  const target = join(root, 'build', 'fixtures', folder)
  mkdirSync(target, { recursive: true })
  for (const name of readdirSync(source).filter((file) => file.endsWith('.gz'))) {
    const packed = join(source, name)
    const file = join(target, name.slice(0, -'.gz'.length))
    const made = statSync(file, { throwIfNoEntry: false })
    if (made !== undefined && made.mtimeMs >= statSync(packed).mtimeMs) continue
    writeFileSync(`${file}.${process.pid}`, gunzipSync(readFileSync(packed)))
    renameSync(`${file}.${process.pid}`, file)
  }
  return target
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) console.log(unpackFixtures())
