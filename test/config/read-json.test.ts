import { execFileSync } from 'node:child_process'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { fileError, readText } from '../../lib/config/read-json.js'
import { temporaryFolder } from '../native/support.js'

const errorOf = (code: string) => fileError('x/y', 'save', Object.assign(new Error(code), { code, syscall: 'open' }))

test('a failed file operation says what is wrong with the place, and what to do', (t) => {
  t.like(errorOf('ENOENT'), { code: 'ERR_FILE_NOT_FOUND', problem: 'save: x/y does not exist' })
  t.like(errorOf('EEXIST'), { code: 'ERR_FILE', problem: 'save: x/y is a file, where a folder is needed' })
  t.like(errorOf('EISDIR'), { code: 'ERR_FILE', problem: 'save: x/y is a folder, where a file is needed' })
  t.like(errorOf('ENOSPC'), { code: 'ERR_DISK', hint: 'Free some space, or take another disk.' })
  t.like(errorOf('EACCES'), { code: 'ERR_FILE', hint: "Check the path and the file's permissions." })
})

const onUnix = process.platform === 'win32' ? test.skip : test

onUnix('a pipe and a link to a device are refused before they are read', (t) => {
  const folder = temporaryFolder(t)
  execFileSync('mkfifo', [join(folder, 'pipe')])
  symlinkSync('/dev/zero', join(folder, 'zero'))
  for (const name of ['pipe', 'zero']) {
    const file = join(folder, name)
    t.throws(() => readText(file, 'read'), {
      code: 'ERR_FILE',
      message: new RegExp(`^read: ${file} is not a regular file`)
    })
  }
  t.throws(() => readText(folder, 'read'), { message: /is a folder, where a file is needed/ })
})
