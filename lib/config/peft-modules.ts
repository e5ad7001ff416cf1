import type { ModulePattern, PeftConfig } from './peft-config.js'
import { fullMatches } from './python-pattern.js'

/** Of these names, those at which PEFT puts an adapter: its check_target_module_exists. */
export function targetedNames(config: PeftConfig, names: readonly string[]): ReadonlySet<string> {
  const { targetModules, layersToTransform } = config
  const excluded = matching(config.excludeModules, names, '.')
  const wanted = matching(targetModules, names, '.')
  const rest = names.filter((name) => wanted.has(name) && !excluded.has(name))
  // A whole name, or a regular expression, already says which layer it means.
  if (layersToTransform === null || layersToTransform.length === 0 || typeof targetModules === 'string') {
    return new Set(rest)
  }
  const layers = layersOf(config.layersPattern, rest)
  return new Set(rest.filter((name) => targetModules.includes(name) || layersToTransform.includes(layers(name))))
}

/** Of these names, those that a pattern names. `before`: what must stand before an end of a name. */
export function matching(pattern: ModulePattern, names: readonly string[], before: '.' | ''): ReadonlySet<string> {
  if (typeof pattern === 'string') return fullMatches(pattern, names)
  return new Set(names.filter((name) => pattern.some((end) => name === end || name.endsWith(`${before}${end}`))))
}

/** The number of each name's layer, -1 where there is none. */
function layersOf(patterns: readonly string[], names: readonly string[]): (name: string) => number {
  const numbered = (name: string) => Number(/^.*?\.[^.]*\.(\d+)\./.exec(name)?.[1] ?? -1)
  if (patterns.length === 0) return numbered
  const found = new Map<string, number>()
  for (const name of names) {
    const cut = [...name.matchAll(/\.(\d+)\./g)].find(({ index }) => {
      const before = name.slice(0, index)
      return patterns.some((pattern) => matching(`(?:.*\\.)?(?:${pattern})`, [before], '.').size > 0)
    })
    found.set(name, Number(cut?.[1] ?? -1))
  }
  return (name) => found.get(name) ?? -1
}

/** For each name the value of the first end that fits, as PEFT's rank_pattern and alpha_pattern are read. */
export function patternValues(
  patterns: ReadonlyMap<string, number>,
  names: readonly string[],
  otherwise: number
): (name: string) => number {
  const found = [...patterns].map(([end, value]) => ({ value, names: fullMatches(`(?:.*\\.)?(?:${end})`, names) }))
  return (name) => found.find((one) => one.names.has(name))?.value ?? otherwise
}
