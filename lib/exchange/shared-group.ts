import * as check from '../config/check.js'

/** Adapters that have parameters in common (MTL-LoRA's A and up-projections). Each one's file holds all of them. */
export interface SharedGroup {
  readonly name: string
  readonly adapters: readonly string[]
}

/** What a config says of it under `torch_adapters`, which Python passes over. */
export function sharedGroupToJson({ name, adapters }: SharedGroup): Record<string, unknown> {
  return { name, adapters: [...adapters] }
}

export function sharedGroupFromJson(json: unknown): SharedGroup {
  const { name, adapters } = check.checkObject('shared_parameters', json)
  return {
    name: check.checkNonEmptyString('shared_parameters.name', name),
    adapters: check
      .checkArray('shared_parameters.adapters', adapters)
      .map((adapter, i) => check.checkNonEmptyString(`shared_parameters.adapters[${i}]`, adapter))
  }
}
