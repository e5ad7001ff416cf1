import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { scratch, tiny } from '../model/support.js'
import { startProcess } from '../support/process.js'

const script = fileURLToPath(new URL('disk-child.js', import.meta.url))

/** A process that has a small disk of its own: Linux lets it, root or not, in a mount namespace. */
const canMount = spawnSync('unshare', ['-rm', 'true']).status === 0

async function onSmallDisk(t: ExecutionContext, kind: string, trainer: string, kilobytes: number) {
  const folder = scratch(t)
  const mount = `mount -t tmpfs -o size=${kilobytes}k none "$1" && exec "$2" "$3" "$4" "$5" "$1"`
  const command = ['-rm', 'sh', '-c', mount, 'sh', folder, process.execPath, script, kind, trainer]
  const { code, stdout, stderr } = await startProcess('unshare', command).ended
  t.is(code, 0, `${stdout}\n${stderr}`)
  const lines = stdout.split('\n')
  const all = (start: string) =>
    lines.filter((line) => line.startsWith(`${start} `)).map((l) => l.slice(start.length + 1))
  const errors = all('error').map((line) => JSON.parse(line) as { code: string; message: string })
  const left = JSON.parse(all('left')[0] ?? '[]') as string[]
  return { run: `${folder}/run`, errors, left, digest: all('digest')[0] }
}

async function wholeDigest(t: ExecutionContext, trainer: string): Promise<string | undefined> {
  const { stdout, stderr } = await startProcess(process.execPath, [script, 'whole', trainer, scratch(t)]).ended
  const digest = /digest (\w{64})/.exec(stdout)?.[1]
  t.truthy(digest, stderr)
  return digest
}

const onLinux = canMount ? test.serial : test.serial.skip

for (const trainer of ['train', 'tasks', 'sweep']) {
  onLinux(
    `${trainer} on a disk that gets full: a named error, and every checkpoint before goes on to the end`,
    async (t) => {
      const { errors, left, digest, run } = await onSmallDisk(t, 'full', trainer, 400)
      const [error] = errors
      t.is(error?.code, 'ERR_DISK')
      t.true(left.length > 0 && left.length < 12, left.join(' '))
      t.true(
        left.every((name) => /^checkpoint-\d+$/.test(name)),
        left.join(' ')
      )
      const start = `write checkpoint-${left.length + 1}: no space left for ${run}. Free some space`
      t.true(error?.message.startsWith(start), error?.message)
      const newest = `${run}/checkpoint-${left.length} is whole: resumeFromCheckpoint: true goes on from there.`
      t.true(error?.message.endsWith(newest), error?.message)
      t.is(digest, await wholeDigest(t, trainer))
    }
  )
}

onLinux('a full disk below events.jsonl: a named error, and with room again it goes on as ever', async (t) => {
  const { errors, left, run } = await onSmallDisk(t, 'full-events', 'train', 200)
  t.is(errors[0]?.code, 'ERR_DISK')
  t.true(errors[0]?.message.includes(`no space left for ${run}`), errors[0]?.message)
  t.deepEqual(left, ['events.jsonl'])
})

onLinux('a read-only folder is refused before the first step; one that becomes so loses no checkpoint', async (t) => {
  const { errors, left, run, digest } = await onSmallDisk(t, 'read-only', 'train', 4000)
  const [before, between] = errors
  t.is(before?.code, 'ERR_FILE')
  t.true(before?.message.startsWith(`train: ${run} cannot be written to: EROFS. Check the folder's permissions`))
  t.is(between?.code, 'ERR_FILE')
  t.true(between?.message.startsWith(`write checkpoint-4: ${run} cannot be written to: EROFS.`), between?.message)
  t.deepEqual(
    left.filter((name) => name.startsWith('checkpoint')),
    ['checkpoint-1', 'checkpoint-2', 'checkpoint-3']
  )
  t.is(digest, await wholeDigest(t, 'train'))
})

onLinux('on the command line a full disk is told with the command that goes on', async (t) => {
  const rows = join(scratch(t), 'rows.jsonl')
  writeFileSync(rows, '{"input_ids": [5, 91], "label": 0}\n{"input_ids": [6, 92], "label": 1}\n')
  const place = scratch(t)
  const args = ['train', '-m', tiny, '--train', rows, '-o', `${place}/run`, '--max-steps', '100', '--save', 'steps']
  const cli = [
    process.execPath,
    'dist/lib/cli/main.js',
    ...args,
    '--save-steps',
    '1',
    '--report-to',
    'none',
    '--threads',
    '1'
  ]
  const mount = 'mount -t tmpfs -o size=400k none "$1" && shift && exec "$@"'
  const { code, stderr } = await startProcess('unshare', ['-rm', 'sh', '-c', mount, 'sh', place, ...cli]).ended
  t.is(code, 1, stderr)
  const hint = `checkpoint-\\d+ is whole: torch-adapters resume ${place}/run goes on from there`
  t.regex(stderr, new RegExp(`no space left for .*${hint}\\.\n$`))
})
