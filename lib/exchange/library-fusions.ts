import type { AdapterConfig } from '../config/adapter-config.js'
import type { BottleneckConfig } from '../config/bottleneck-config.js'

const places = [
  ['mhAdapter', 'mh_adapter'],
  ['outputAdapter', 'output_adapter'],
  ['crossAdapter', 'cross_adapter']
] as const

/**
 * Why the adapter library (version 1.3) cannot make a fusion of these adapters, or fails in its first pass: it has one at
 * places that all of them have, and in a layer all of them or none. Undefined: it takes them.
 */
export function fusionFails(
  names: readonly (string | null)[],
  adapters: ReadonlyMap<string, AdapterConfig>
): string | undefined {
  const bottlenecks = names.flatMap((name): [string, BottleneckConfig][] => {
    const config = name === null ? undefined : adapters.get(name)
    return name !== null && config?.method === 'bottleneck' ? [[name, config]] : []
  })
  const [first, ...others] = bottlenecks
  if (first === undefined) return undefined
  const [name, config] = first
  for (const [otherName, other] of others) {
    const both = `'${name}' and '${otherName}'`
    const place = places.find(([field]) => config[field] !== other[field])
    if (place !== undefined) return `it has fusions at places of all adapters, and ${both} differ in ${place[1]}`
    const layer =
      config.leaveOut.find((one) => !other.leaveOut.includes(one)) ??
      other.leaveOut.find((one) => !config.leaveOut.includes(one))
    if (layer !== undefined)
      return `it has fusions of adapters in the same layers, and of ${both} one leaves out ${layer}`
  }
  return undefined
}
