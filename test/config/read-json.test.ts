import test from 'ava'
import { fileError } from '../../lib/config/read-json.js'

const errorOf = (code: string) => fileError('x/y', 'save', Object.assign(new Error(code), { code, syscall: 'open' }))

test('a failed file operation says what is wrong with the place, and what to do', (t) => {
  t.like(errorOf('ENOENT'), { code: 'ERR_FILE_NOT_FOUND', problem: 'save: x/y does not exist' })
  t.like(errorOf('EEXIST'), { code: 'ERR_FILE', problem: 'save: x/y is a file, where a folder is needed' })
  t.like(errorOf('EISDIR'), { code: 'ERR_FILE', problem: 'save: x/y is a folder, where a file is needed' })
  t.like(errorOf('ENOSPC'), { code: 'ERR_DISK', hint: 'Free some space, or take another disk.' })
  t.like(errorOf('EACCES'), { code: 'ERR_FILE', hint: "Check the path and the file's permissions." })
})
