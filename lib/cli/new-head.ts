import type { HeadConfig } from '../config/head-config.js'
import { isOwnHead } from '../config/own-head.js'
import { defaultHead } from '../exchange/static-heads.js'
import type { Model } from '../model/model.js'

/**
 * Adds a head that is to train. One for masked words begins as that of the model's class, where the folder has one: it has
 * learned before, as the model has.
 */
export function addNewHead(model: Model, name: string, head: HeadConfig): void {
  const own = model.heads.get(defaultHead)
  if (head.headType !== 'masked_lm' || own?.headType !== 'masked_lm' || isOwnHead(own)) {
    model.addHead(name, head)
    return
  }
  model.addHead(name, own)
  const start = `heads.${defaultHead}.`
  const values = model
    .namedParameters()
    .filter((one) => one.name.startsWith(start))
    .map((one) => [`heads.${name}.${one.name.slice(start.length)}`, model.parameter(one.name)] as const)
  model.loadStateDict(new Map(values))
  process.stderr.write(`the head '${name}' begins as the one for masked words that the model's folder has\n`)
}
