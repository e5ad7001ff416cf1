import type { AdapterConfig } from './adapter-config.js'
import { rangeError, valueError } from './check.js'

/** leaveOut counts from 0: one too far is a layer that would keep its adapter in silence. */
export function checkLeaveOut(config: AdapterConfig, layers: number): void {
  for (const part of config.method === 'union' ? config.configs : [config]) {
    const given: readonly number[] = 'leaveOut' in part ? part.leaveOut : []
    const beyond = given.find((layer) => layer >= layers)
    if (beyond !== undefined) throw rangeError('leaveOut', `layers from 0 to ${layers - 1}`, beyond)
    // It stands before the first layer, of which a network without layers has no sign.
    const isInvertible = part.method === 'bottleneck' && part.invAdapter !== null && layers > 0
    const namesLinears = part.method === 'lora' && part.targetModules !== null
    if (new Set(given).size === layers && !isInvertible && !namesLinears) {
      if (layers === 0) {
        throw valueError(
          'adapter config',
          'no layer was found in this network (explainPlacement() tells why); name Linears with targetModules'
        )
      }
      throw valueError('leaveOut', `all ${layers} layers are left out, so the adapter would stand nowhere; keep one`)
    }
    const wanted: readonly number[] = part.method === 'reft' && part.layers !== 'all' ? part.layers : []
    const missing = wanted.find((layer) => layer >= layers)
    if (missing !== undefined) throw rangeError('layers', `layers from 0 to ${layers - 1}`, missing)
  }
}
