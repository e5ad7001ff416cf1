import { type HeadConfig, predictsWords } from '../config/head-config.js'
import { isOwnHead } from '../config/own-head.js'
import { defaultHead } from '../exchange/static-heads.js'
import type { Model } from '../model/model.js'
import { isArchive } from './archive-model.js'
import { usageError } from './arguments.js'
import type { headKinds } from './head-kinds.js'

type Kind = (typeof headKinds)[number]

/** Whether adapters that have no head of their own answer with that of an archive's class. */
export const answersItself = (model: Model): boolean => isOwnHead(model.heads.get(defaultHead))

/**
 * The head of an archive's class, where it is what trains the adapter: asked for as 'default', or one for words that rows
 * without labels, or --head, ask for. Undefined: a new head is.
 * @param source --model
 * @param asked --head, or the kind that the fields of the rows tell
 */
export async function headOfArchive(
  source: string | undefined,
  asked: Kind | undefined,
  haveLabels: boolean
): Promise<HeadConfig | undefined> {
  const mayBe = asked === undefined ? !haveLabels : ['default', 'causal-lm', 'masked-lm'].includes(asked)
  if (!mayBe) return undefined
  const own = source === undefined || !isArchive(source) ? undefined : await readHead(source)
  if (asked === 'default') {
    if (own !== undefined) return own
    throw usageError(
      '--head default: expected a --model that is an archive of torch.export of a class with a head, such as ' +
        `AutoModelForCausalLM, got ${source ?? 'none'}`
    )
  }
  if (own === undefined || !predictsWords(own)) return undefined
  return asked === undefined || own.headType === asked.replace('-', '_') ? own : undefined
}

async function readHead(archive: string): Promise<HeadConfig | undefined> {
  const { AutoModel } = await import('../model/auto-model.js')
  using model = await AutoModel.fromExported(archive, { device: 'cpu' })
  const head = model.heads.get(defaultHead)
  return isOwnHead(head) ? head : undefined
}
