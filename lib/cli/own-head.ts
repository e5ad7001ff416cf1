import { type HeadConfig, predictsWords } from '../config/head-config.js'
import { isOwnHead } from '../config/own-head.js'
import { defaultHead } from '../exchange/static-heads.js'
import type { Model } from '../model/model.js'
import { usageError } from './arguments.js'
import type { headKinds } from './head-kinds.js'

type Kind = (typeof headKinds)[number]

/** Whether adapters that have no head of their own answer with that of an archive's class. */
export const answersItself = (model: Model): boolean => isOwnHead(model.heads.get(defaultHead))

/** The head that --model brings. */
export interface HeadOfModel {
  /** --model. */
  readonly source: string | undefined
  /** Undefined: it has none that stays as it is. */
  readonly read: () => Promise<HeadConfig | undefined>
}

/**
 * The head of an archive's class, where it is what trains the adapter: asked for as 'default', or one for words that rows
 * without labels, or --head, ask for. Undefined: a new head is.
 * @param asked --head, or the kind that the fields of the rows tell
 */
export async function headOfArchive(
  model: HeadOfModel | undefined,
  asked: Kind | undefined,
  haveLabels: boolean
): Promise<HeadConfig | undefined> {
  const mayBe = asked === undefined ? !haveLabels : ['default', 'causal-lm', 'masked-lm'].includes(asked)
  if (!mayBe) return undefined
  const own = await model?.read()
  if (asked === 'default') {
    if (own !== undefined) return own
    throw usageError(
      '--head default: expected a --model that is an archive of torch.export of a class with a head, such as ' +
        `AutoModelForCausalLM, got ${model?.source ?? 'none'}`
    )
  }
  if (own === undefined || !predictsWords(own)) return undefined
  return asked === undefined || own.headType === asked.replace('-', '_') ? own : undefined
}
