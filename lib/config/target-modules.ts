import { valueError } from './check.js'
import { prefixed } from './linear-paths.js'
import type { LoraPlace, TargetModules } from './lora-config.js'
import type { ModelConfig } from './model-config.js'
import { pathPattern } from './path-pattern.js'
import { matching } from './peft-modules.js'

/** A Linear of a model that an adapter may stand at. */
export interface ModelLinear {
  readonly path: string
  /** -1: it stands in no layer. */
  readonly layer: number
  /** Null: nothing that a config without `targetModules` names. */
  readonly place: LoraPlace | null
}

/** PEFT's word for all of them but the output layer. */
const allLinear = 'all-linear'

const whose = ({ exported, modelType }: ModelConfig): string =>
  exported === null ? modelType : `${exported.className} of an archive`

/** The paths of the Linears that `targetModules` means. Throws where it means none, or one at which nothing can stand. */
export function targetedLinears(
  given: TargetModules,
  model: ModelConfig,
  linears: readonly ModelLinear[]
): ReadonlySet<string> {
  const names = linears.map(({ path }) => path)
  const unclear = Object.keys(model.exported?.unclearLinears ?? {})
  const targets = withoutPrefix(given, model)
  const find = (paths: readonly string[]) =>
    typeof targets === 'string' ? matched(targets, paths, model) : named(targets, paths)
  const [cannotTell] = find(unclear)
  if (cannotTell !== undefined) {
    const why = model.exported?.unclearLinears[cannotTell]
    const others = targets === allLinear ? '; name the others' : ''
    throw valueError('targetModules', `nothing can stand at '${cannotTell}': ${why}${others}`)
  }
  const wanted = find(names)
  const unknown = typeof targets !== 'string' && targets.find((one) => named([one], names).size === 0)
  if (wanted.size > 0 && !unknown) return wanted
  const ends = [...new Set(names.map((path) => path.split('.').at(-1)))].slice(0, 12)
  const others = ends.length === 0 ? 'it shows none at all' : `there are ${ends.join(', ')}`
  if (typeof targets !== 'string') {
    throw valueError('targetModules', `no Linear of ${whose(model)} is called '${unknown}'; ${others}`)
  }
  const what =
    targets === allLinear
      ? 'is no output layer'
      : `matches '${targets}', a regular expression for whole paths such as '${names[0]}'`
  const list = names.some((path) => path.endsWith(`.${targets}`))
    ? `; an end of paths is in a list: ['${targets}']`
    : ''
  throw valueError('targetModules', `no Linear of ${whose(model)} ${what}; ${others}${list}`)
}

/** By 'all-linear', or a regular expression for names below the model or those of a class with a head. */
function matched(pattern: string, paths: readonly string[], model: ModelConfig): ReadonlySet<string> {
  if (pattern === allLinear) return new Set(paths.filter((path) => !isOutput(path, model)))
  const found = matching(pattern, [...paths, ...paths.map((path) => prefixed(path, model))], '.')
  return new Set(paths.filter((path) => found.has(path) || found.has(prefixed(path, model))))
}

/** What makes the logits in a class of transformers: PEFT leaves it out of all-linear. */
function isOutput(path: string, { exported }: ModelConfig): boolean {
  if (!exported?.hasOwnHead) return false
  return /^(lm_head(\.decoder)?|embed_out|cls\.predictions\.decoder|generator_lm_head|vocab_projector)$|^(score|classifier)(\.|$)/.test(
    path
  )
}

/** Names as `namedModules` lists them, where an exported network has `model.` in front of all. */
function withoutPrefix(targets: TargetModules, { exported }: ModelConfig): TargetModules {
  if (exported === null || exported.prefix === '' || typeof targets === 'string') return targets
  const prefix = `${exported.prefix}.`
  return targets.map((one) => (one.startsWith(prefix) ? one.slice(prefix.length) : one))
}

/** Of these paths, those that are named: as a whole, by their end, or by a pattern with `*`. */
function named(targets: readonly string[], paths: readonly string[]): ReadonlySet<string> {
  const patterns = targets.filter((one) => one.includes('*')).map(pathPattern)
  const ends = targets.filter((one) => !one.includes('*'))
  // What was saved names Linears by whole paths, one of which may be the end of another's.
  const whole = ends.filter((one) => paths.includes(one))
  const found = matching(
    ends.filter((one) => !whole.includes(one)),
    paths,
    '.'
  )
  return new Set(paths.filter((path) => found.has(path) || whole.includes(path) || patterns.some((is) => is(path))))
}
