import { once } from 'node:events'
import { statSync } from 'node:fs'
import { exitStatus, numberOption, parseCommand, usageError } from './arguments.js'
import { untilInterrupted } from './model-options.js'

export const summary = 'show the runs below a folder on a page that follows them'

const usage = `Usage: torch-adapters watch [FOLDER] [OPTIONS]

Serves a page with the curves, speed and state of every run below FOLDER (default: the current one) that has an
events.jsonl: those of train, and of trainers with reportTo. The page follows them and compares several. Only this
machine can open it. Ctrl-C ends it.
Exit status: 0 ended, 1 failed, 2 called in a wrong way.

  --port N                default 6007, or another where that is taken
  --json                  one JSON object: the page's url, and the folder
  --help                  this text
`

export async function run(argv: string[]): Promise<number> {
  const options = {
    port: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false }
  } as const
  const { values, operands } = parseCommand(argv, options, ['[FOLDER]'])
  if (values.help) {
    process.stdout.write(usage)
    return exitStatus.done
  }
  const [folder = '.'] = operands
  const port = numberOption('port', values.port)
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port < 65_536)) {
    throw usageError(`--port: expected a number from 0 to 65535, got '${values.port}'`)
  }
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw usageError(`expected a folder with runs, got ${folder}, which is none`)
  }
  const { startWatching } = await import('./watch-server.js')
  const { url, server } = await startWatching(folder, port)
  process.stdout.write(values.json ? `${JSON.stringify({ url, folder })}\n` : `${folder}: ${url}\n`)
  await untilInterrupted(async (signal) => {
    await once(signal, 'abort')
  })
  server.close()
  server.closeAllConnections()
  return exitStatus.done
}
