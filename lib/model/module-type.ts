import type { ModelConfig } from '../config/model-config.js'
import { familyOf } from '../config/model-families.js'

/** As Python calls a module: the root is a class with a head, as `adapters` has it, and BERT's kin have classes of their own. */
export function moduleType(
  config: ModelConfig,
  { path, type }: { readonly path: string; readonly type: string }
): string {
  const { exported } = config
  if (exported !== null) return path === '' && exported.prefix === '' ? exported.className : type
  const { adapterClass } = familyOf(config)
  if (path === '') return adapterClass
  const family = adapterClass.replace(/AdapterModel$/, '')
  return type.replace(/^Bert(?!Model)/, family === 'DistilBert' ? '' : family)
}
