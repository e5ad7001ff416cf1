import { AdapterError } from '../native/errors.js'
import type { NativeTrainable, ParameterInfo } from '../native/types.js'
import { isAdapterParameter, isBaseParameter, isHeadParameter } from './summary.js'

/**
 * What trains when `isFrozen` names what does not. Adapters and heads train as wholes, because each is one buffer; base
 * parameters one by one.
 */
export function trainableUnless(
  isFrozen: (name: string) => boolean,
  parameters: readonly ParameterInfo[],
  adapters: readonly string[],
  heads: readonly string[]
): NativeTrainable {
  const names = parameters.map(({ name }) => name)
  const whole = (kind: string, owner: string, owned: readonly string[]): boolean => {
    const frozen = owned.filter(isFrozen)
    if (frozen.length > 0 && frozen.length < owned.length) {
      throw new AdapterError('ERR_UNSUPPORTED', 'freeze', `only part of the ${kind} '${owner}' would be frozen`, {
        expected: 'all of its parameters or none',
        got: `${frozen.length} of ${owned.length}, such as ${frozen[0]}`
      })
    }
    return owned.length > 0 && frozen.length === 0
  }
  return {
    adapters: adapters.filter((name) =>
      whole(
        'adapter',
        name,
        names.filter((n) => isAdapterParameter(n, name))
      )
    ),
    heads: heads.filter((name) =>
      whole(
        'head',
        name,
        names.filter((n) => isHeadParameter(n, name))
      )
    ),
    base: names.filter((name) => isBaseParameter(name) && !isFrozen(name))
  }
}
