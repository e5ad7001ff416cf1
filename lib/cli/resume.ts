import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { exitStatus, usageError } from './arguments.js'
import { run as fuse } from './fuse.js'
import { run as sweep } from './sweep.js'
import { run as train } from './train.js'
import { isFusion, isSweep, readTrainConfig, runConfigFile } from './train-config.js'

export const summary = 'go on with a training that was interrupted'

const usage = `Usage: torch-adapters resume FOLDER [OPTIONS]

Goes on from the newest checkpoint of a run of train, sweep or fuse, whose FOLDER holds its train.json, as if it had
never stopped. Options are those of train; what decides the numbers must stay as it was (see torch-adapters
train --help), but --epochs and --max-steps may change, and --epochs takes the place of --max-steps that the run was
given before: the learning rate then follows the new length.
Exit status: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted.

  --epochs N, --max-steps N  a new length
  --resume-from FOLDER       go on from this checkpoint instead
  --json                     one JSON object a line: every event but single steps, and last the result
  --help                     this text
`

export async function run([folder, ...options]: string[]): Promise<number> {
  if (folder === '--help' || folder === '-h') {
    process.stdout.write(usage)
    return exitStatus.done
  }
  if (folder === undefined || folder.startsWith('-'))
    throw usageError(`expected a run's FOLDER first, got ${folder ?? 'nothing'}`)
  const config = join(folder, runConfigFile)
  if (!existsSync(config)) throw noRun(folder)
  const isElsewhere = options.some((option) => /^--resume-from(=|$)/.test(option))
  const content = await readTrainConfig(config)
  const command = isSweep(content) ? sweep : isFusion(content) ? fuse : train
  return await command([config, '--output', folder, ...(isElsewhere ? [] : ['--resume']), ...options])
}

function noRun(folder: string): Error {
  if (!existsSync(folder)) return usageError(`${folder} does not exist: a run has its folder from its first step on`)
  // A checkpoint, or the folder of all of them, lies inside.
  const run = [dirname(folder), dirname(dirname(folder))].find((above) => existsSync(join(above, runConfigFile)))
  const isEmpty = statSync(folder).isDirectory() && readdirSync(folder).length === 0
  const begin = isEmpty ? ': it is empty, and a run ended before it began; start it anew' : ''
  const hint = run === undefined ? begin : `: it lies in a run, which goes on with torch-adapters resume ${run}`
  return usageError(`expected the folder of a run, got ${folder}, which has no ${runConfigFile}${hint}`)
}
