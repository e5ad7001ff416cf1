import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** The environment of Hugging Face's own tools, so that a machine set up for them is set up for this one. */

const isSet = (value: string | undefined): boolean => ['1', 'true', 'yes', 'on'].includes(value?.toLowerCase() ?? '')

export const isOffline = (): boolean =>
  isSet(process.env['HF_HUB_OFFLINE']) || isSet(process.env['TRANSFORMERS_OFFLINE'])

/** The token that is sent where a call names none. */
export function hubToken(): string | undefined {
  if (isSet(process.env['HF_HUB_DISABLE_IMPLICIT_TOKEN'])) return undefined
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_HOME, HF_TOKEN_PATH, XDG_CACHE_HOME } = process.env
  const given = (HF_TOKEN ?? HUGGING_FACE_HUB_TOKEN)?.trim()
  if (given) return given
  const home = HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'huggingface')
  const file = HF_TOKEN_PATH ?? join(home, 'token')
  if (!existsSync(file)) return undefined
  return readFileSync(file, 'utf8').trim() || undefined
}
