import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { crc32, deflateRawSync } from 'node:zlib'
import type { ExecutionContext } from 'ava'
import { type Ended, type Process, startProcess } from '../support/process.js'

/** The repository: compiled tests lie in dist/test/FOLDER/. */
export const repository = fileURLToPath(new URL('../../../', import.meta.url))

/** A folder that is gone when the test is over, by its real path: macOS and Windows have others for the same one. */
export function temporaryFolder(t: ExecutionContext): string {
  const folder = realpathSync.native(mkdtempSync(join(tmpdir(), 'torch-adapters-test-')))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export function writeTree(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
}

/** A folder that looks like a libtorch: the right file names, nothing in them. */
export function writeFakeLibTorch(folder: string, version: string): void {
  writeTree(folder, {
    'lib/libc10.so': '',
    'lib/libtorch_cpu.so': '',
    'lib/libc10.dylib': '',
    'lib/libtorch_cpu.dylib': '',
    'lib/c10.dll': '',
    'lib/torch_cpu.dll': '',
    'version.py': `__version__ = '${version}'\n`
  })
}

/** The environment without what would steer the search for libtorch. */
export function bareEnvironment(home: string): NodeJS.ProcessEnv {
  return { HOME: home, PATH: '', TORCH_ADAPTERS_CACHE: join(home, 'cache') }
}

export function runNode(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  cwd = repository,
  onOutput: (stdout: string) => void = () => {}
): Promise<Ended> {
  const onText = ({ texts }: Process) => onOutput(texts.stdout)
  return startProcess(process.execPath, args, { env, cwd, onText }).ended
}

export interface ZipEntry {
  readonly name: string
  readonly data: Buffer
  readonly stored?: boolean
  /** Instead of the true checksum. */
  readonly crc?: number
  /** Instead of the true size. */
  readonly size?: number
}

/** A zip file, written here so that tests can make wrong ones. */
export function zip(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const { name, data, stored = false, crc = crc32(data), size = data.length } of entries) {
    const packed = stored ? data : deflateRawSync(data)
    const fields = Buffer.alloc(26)
    fields.writeUInt16LE(20, 0)
    fields.writeUInt16LE(stored ? 0 : 8, 4)
    fields.writeUInt32LE(crc, 10)
    fields.writeUInt32LE(packed.length, 14)
    fields.writeUInt32LE(size, 18)
    fields.writeUInt16LE(Buffer.byteLength(name), 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), fields, Buffer.from(name), packed])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(offset, 10)
    directory.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), fields, tail, Buffer.from(name))
    parts.push(local)
    offset += local.length
  }
  const central = Buffer.concat(directory)
  const end = Buffer.alloc(18)
  end.writeUInt16LE(entries.length, 4)
  end.writeUInt16LE(entries.length, 6)
  end.writeUInt32LE(central.length, 8)
  end.writeUInt32LE(offset, 12)
  return Buffer.concat([...parts, central, Buffer.from('PK\x05\x06', 'latin1'), end])
}
