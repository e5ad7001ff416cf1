import { isUtf8 } from 'node:buffer'
import { AdapterError } from '../native/errors.js'

/**
 * Text out of a file's bytes.
 * @throws {AdapterError} ERR_INVALID_FILE where they are no UTF-8: another encoding would come out as other letters
 */
export function utf8Text(bytes: Buffer, where: string, operation: string): string {
  const text = bytes.toString('utf8')
  if (isUtf8(bytes)) return text
  const [first, second] = bytes
  const utf16 =
    first === 0xff && second === 0xfe ? 'UTF-16LE' : first === 0xfe && second === 0xff ? 'UTF-16BE' : undefined
  if (utf16 !== undefined) {
    const hint = `Write the file as UTF-8: iconv -f UTF-16 -t UTF-8 (in Excel, save as "CSV UTF-8").`
    const given = { expected: 'text in UTF-8', got: utf16, hint }
    throw new AdapterError('ERR_INVALID_FILE', operation, `${where}: this is no UTF-8`, given)
  }
  // What is no UTF-8 became a mark of its own, which has other bytes.
  const whole = Buffer.from(text)
  const wrong = bytes.findIndex((byte, i) => byte !== whole[i])
  throw new AdapterError('ERR_INVALID_FILE', operation, `${where}: this is no UTF-8`, {
    expected: 'text in UTF-8',
    got: `the byte 0x${bytes[wrong]?.toString(16)} after '${bytes.toString('utf8', Math.max(0, wrong - 20), wrong)}'`,
    hint: 'Write the file as UTF-8: iconv -f LATIN1 -t UTF-8 for what older Windows programs wrote.'
  })
}
