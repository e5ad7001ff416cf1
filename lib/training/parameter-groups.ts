import * as check from '../config/check.js'
import type { ParameterGroup, ParameterMatch } from '../config/parameter-groups.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { nativeCall } from '../native/errors.js'
import type { NativeParameterGroup } from '../native/trainer-types.js'
import type { ParameterInfo } from '../native/types.js'

/**
 * The groups by the names of what trains. One that nothing that trains belongs to is a mistake: it would do nothing.
 * @param among names of one of those that train side by side; empty: all
 */
export function nativeGroups(
  model: Model,
  args: ResolvedTrainingArguments,
  among: readonly string[]
): NativeParameterGroup[] {
  if (args.parameterGroups.length === 0) return []
  const own = new Set(among)
  let left = model.namedParameters().filter(({ trainable, name }) => trainable && (own.size === 0 || own.has(name)))
  const norms = args.parameterGroups.some(({ match }) => match === 'layerNorm') ? layerNorms(model) : new Set<string>()
  return args.parameterGroups.map((group, i) => {
    const found = left.filter((parameter) => matches(group.match, parameter, norms))
    if (found.length === 0) throw nothingMatches(group, i)
    left = left.filter((parameter) => !found.includes(parameter))
    return {
      names: found.map(({ name }) => name),
      learningRate: group.learningRate ?? args.learningRate,
      weightDecay: group.weightDecay ?? args.weightDecay,
      decaysAll: group.weightDecay !== undefined && (group.match === 'layerNorm' || group.match instanceof RegExp)
    }
  })
}

function matches(match: ParameterMatch, { name, part }: ParameterInfo, norms: ReadonlySet<string>): boolean {
  if (match === 'layerNorm') return norms.has(name.slice(0, name.lastIndexOf('.')))
  if (!(match instanceof RegExp)) return part === match
  // Flags g and y would make the answer depend on the last one.
  return new RegExp(match.source, match.flags.replace(/[gy]/g, '')).test(name)
}

/** Paths of all LayerNorms: of the base model, of heads and inside adapters. */
function layerNorms(model: Model): ReadonlySet<string> {
  const modules = nativeCall(() => model.native.namedModules())
  return new Set(modules.flatMap(({ path, type }) => (type === 'LayerNorm' ? [path] : [])))
}

function nothingMatches({ match }: ParameterGroup, i: number): TypeError {
  const what = match instanceof RegExp ? `pattern ${match}` : `'${match}'`
  return check.valueError(
    `args.parameterGroups[${i}]`,
    `${what} matches no parameter that trains and that no group before it has`
  )
}
