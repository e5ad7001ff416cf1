// Archives of torch.export and their cases lie gzipped in test/parity/fixtures/exported: unpacked, they would be a
// third of all fixtures.
//   node scripts/lib/unpack-fixtures.mjs      unpacks them to build/fixtures/exported, for the C++ tests
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { root } from './run.mjs'

const source = join(root, 'test', 'parity', 'fixtures', 'exported')
const target = join(root, 'build', 'fixtures', 'exported')

/** Unpacks what is not there yet or is older; gives the folder. */
export function unpackFixtures() {
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
