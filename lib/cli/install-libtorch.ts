import { type FetchReport, fetchedLibTorch, fetchLibTorch } from '../native/fetch-libtorch.js'
import { findLibTorch, readLibTorchVersion } from '../native/libtorch.js'
import { cacheFolder, packageJson } from '../native/platform.js'
import { exitStatus, inputFile, parseCommand, usageError } from './arguments.js'
import { megabyteBar } from './megabyte-bar.js'

export const summary = 'fetch libtorch into the cache of this user'

const usage = `Usage: torch-adapters install-libtorch [--cuda] [--file ARCHIVE [--sha256 HEX]] [--force] [--json]

Fetches libtorch ${packageJson.libtorch.version} into ${cacheFolder()}
(TORCH_ADAPTERS_CACHE names another folder): the official archive, its checksum verified, or where that site cannot be
reached the wheel that "python3 -m pip" finds. Does nothing if a libtorch that fits is found already.

  --cuda          the build for NVIDIA devices, with the libraries it needs (some GB)
  --file ARCHIVE  take libtorch from this zip or wheel; nothing is downloaded
  --sha256 HEX    the checksum that the file must have
  --force         fetch although one is found elsewhere than in the cache
  --json          one JSON object: path, version, fetched
  --help          this text
`

async function terminalReport(): Promise<FetchReport & { end(): void }> {
  const bar = await megabyteBar()
  return {
    end: bar.end,
    step(text) {
      bar.end()
      process.stderr.write(`${text}\n`)
    },
    progress(done, total) {
      bar.show('', done, total)
    }
  }
}

export async function run(argv: string[]): Promise<number> {
  const { values } = parseCommand(argv, {
    cuda: { type: 'boolean', default: false },
    file: { type: 'string' },
    sha256: { type: 'string' },
    force: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false }
  })
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  if (values.file !== undefined) inputFile('file', values.file)
  if (values.sha256 !== undefined && (values.file === undefined || !/^[0-9a-f]{64}$/i.test(values.sha256))) {
    throw usageError(`--sha256: expected 64 hexadecimal digits, together with --file, got '${values.sha256}'`)
  }
  const { found } = findLibTorch()
  const enough = found && (found.cuda || !values.cuda) && !values.force && values.file === undefined
  const here = enough ? found.path : values.file === undefined ? fetchedLibTorch({ cuda: values.cuda }) : undefined
  const path = here ?? (await fetch(values))
  const version = readLibTorchVersion(path)
  if (values.json) process.stdout.write(`${JSON.stringify({ path, version, fetched: here === undefined }, null, 2)}\n`)
  else process.stdout.write(`libtorch ${version} ${here !== undefined ? 'is here already' : 'installed'}: ${path}\n`)
  return exitStatus.done
}

async function fetch(values: {
  cuda: boolean
  file?: string | undefined
  sha256?: string | undefined
}): Promise<string> {
  const report = await terminalReport()
  try {
    return await fetchLibTorch({
      cuda: values.cuda,
      report,
      ...(values.file === undefined ? {} : { file: values.file }),
      ...(values.sha256 === undefined ? {} : { sha256: values.sha256 })
    })
  } finally {
    report.end()
  }
}
