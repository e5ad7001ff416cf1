#!/usr/bin/env node
import { nearest } from '../config/nearest.js'
import { findFolder } from '../exchange/near-folders.js'
import { packageJson } from '../native/platform.js'
import { interruptions } from './interruptions.js'

/** What every command file exports. `run` gives the exit status: 0 done, 1 failed, 2 called in a wrong way. */
interface Command {
  readonly summary: string
  run(argv: string[]): Promise<number>
}

const commands = [
  'train',
  'sweep',
  'fuse',
  'resume',
  'watch',
  'evaluate',
  'predict',
  'generate',
  'inspect',
  'convert',
  'doctor',
  'install-libtorch'
] as const

const load = async (name: string) => (await import(`./${name}.js`)) as Command

async function help(): Promise<string> {
  const width = Math.max(...commands.map((name) => name.length))
  const lines = await Promise.all(
    commands.map(async (name) => `  ${name.padEnd(width)}  ${(await load(name)).summary}`)
  )
  return [
    'Usage: torch-adapters COMMAND [OPTIONS]',
    '',
    ...lines,
    '',
    'Each command explains itself with --help; --json gives output for programs.',
    ''
  ].join('\n')
}

async function main([name, ...argv]: string[]): Promise<number> {
  const [about = ''] = argv
  if (name === 'help' && (commands as readonly string[]).includes(about)) return await main([about, '--help'])
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(await help())
    return name === undefined ? 2 : 0
  }
  if (name === '--version' || name === '-v') {
    process.stdout.write(`${packageJson.version}\n`)
    return 0
  }
  if (!(commands as readonly string[]).includes(name)) {
    const guess = nearest(name, commands)
    process.stderr.write(
      `torch-adapters: no command '${name}'.${guess ? ` Did you mean '${guess}'?` : ''} See torch-adapters --help\n`
    )
    return 2
  }
  try {
    return await (await load(name)).run(argv)
  } catch (error) {
    return await explain(name, error, argv)
  }
}

// Errors that carry a code are meant for people: one line, no stack. Anything else is a defect, shown in full.
async function explain(command: string, error: unknown, argv: readonly string[]): Promise<number> {
  const { code, operation, message: given } = error as Error & { code?: unknown; operation?: unknown }
  if (typeof code !== 'string') {
    console.error(error)
    return 1
  }
  // A call of the library has the same name.
  const plain = given.startsWith(`${command}: `) ? given.slice(command.length + 2) : given
  const message = plain.startsWith('args.') ? (await import('./option-names.js')).withOptionNames(plain, argv) : plain
  // The library does not know options of the command line.
  const isArchive = process.argv.some((argument) => argument.endsWith('.pt2'))
  const option =
    isArchive && message.includes('the model has no tokenizer') ? '. --tokenizer FOLDER says where one lies' : ''
  // A path that is not there, of rows or of a folder, is a mistake of whoever wrote it; a hub id that is not found is not.
  const wrongUse = code.startsWith('ERR_PARSE_ARGS') || (code === 'ERR_FILE_NOT_FOUND' && operation === findFolder)
  process.stderr.write(
    `torch-adapters ${command}: ${message}${option}${wrongUse ? `${/[.?!]$/.test(message) ? '' : '.'} See torch-adapters ${command} --help` : ''}\n`
  )
  return wrongUse ? 2 : 1
}

// Ctrl-C where nothing ends in good order: a model or rows are being read, or it is the second one.
const train: readonly (string | undefined)[] = ['train', 'sweep', 'fuse', 'resume']
let signals = 0
for (const signal of interruptions()) {
  process.on(signal, () => {
    const isFirst = signals++ === 0
    if (process.listenerCount(signal) > 1) return
    process.stderr.write(`${isFirst ? interrupted(process.argv.slice(2)) : 'interrupted'}\n`)
    process.exit(130)
  })
}

function interrupted([command, ...argv]: string[]): string {
  if (!train.includes(command)) return 'interrupted'
  const goesOn = command === 'resume' || argv.some((one) => one === '--resume' || one.startsWith('--resume-from'))
  if (!goesOn) return 'interrupted before the first step; nothing was saved'
  return 'interrupted before another step; what the run has saved is as it was, and the same command goes on with it'
}

// A reader that has enough, such as head, closes the pipe; a terminal may be closed, too. What is still to be told has no
// place to go then. That ends a command that was there to tell it; one that makes files, such as train, goes on.
const gone: readonly (string | undefined)[] = ['EPIPE', 'EIO', 'ERR_STREAM_DESTROYED']
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (!gone.includes(error.code)) return lost(stream, error)
    if (stream === process.stdout && onlyTells(process.argv.slice(2))) process.exit(0)
  })
}

let isLost = false

/** What is to be told cannot be, as on a full disk: said once, and the end of what was there to tell it. */
function lost(stream: typeof process.stdout | typeof process.stderr, { message }: Error): void {
  if (stream === process.stderr || isLost) return
  isLost = true
  process.stderr.write(`torch-adapters ${process.argv[2]}: standard output cannot be written: ${message}\n`)
  if (onlyTells(process.argv.slice(2))) process.exit(1)
}

/** Whether what a command is for goes to standard output. */
function onlyTells([name = '', ...argv]: string[]): boolean {
  if (['evaluate', 'inspect', 'doctor'].includes(name) || argv.includes('--help') || argv.includes('-h')) return true
  return ['predict', 'generate'].includes(name) && !argv.some((one) => /^(-o|--output(=|$))/.test(one))
}

// exitCode instead of process.exit: output that is still in a pipe must arrive.
process.exitCode = await main(process.argv.slice(2))
