import * as check from './check.js'
import {
  adapterLayer,
  dynamicAdapter,
  existingModule,
  fusedAdapters,
  hierarchical,
  type ModuleDescription,
  type NewModule,
  parallel,
  sequential
} from './module-description.js'

/** Descriptions as JSON, snake case. An object that comes again is `{ "shared": n }`, the n-th of those that were written. */
export class ModuleWriter {
  readonly #seen = new Map<ModuleDescription, number>()

  write(description: ModuleDescription): object {
    if (description.kind === 'module') return { kind: 'module', path: description.path, type: description.type }
    const before = this.#seen.get(description)
    if (before !== undefined) return { shared: before }
    const json = this.#fields(description)
    this.#seen.set(description, this.#seen.size)
    return json
  }

  #fields(description: Exclude<ModuleDescription, { kind: 'module' }>): object {
    switch (description.kind) {
      case 'sequential':
        return { kind: 'sequential', modules: description.modules.map((module) => this.write(module)) }
      case 'parallel': {
        const { module, adapter, scale } = description
        return { kind: 'parallel', module: this.write(module), adapter: this.write(adapter), scale }
      }
      case 'adapterLayer': {
        const { hiddenSize, adapterSize, activation } = description
        return { kind: 'adapter_layer', hidden_size: hiddenSize, adapter_size: adapterSize, activation }
      }
      case 'hierarchical': {
        const { hiddenSize, adapterSizes, activation } = description
        return { kind: 'hierarchical', hidden_size: hiddenSize, adapter_sizes: adapterSizes, activation }
      }
      case 'dynamic': {
        const { hiddenSize, maxAdapterSize, mask, temperature, start } = description
        return { kind: 'dynamic', hidden_size: hiddenSize, max_adapter_size: maxAdapterSize, mask, temperature, start }
      }
      case 'fused': {
        const { hiddenSize, numHeads } = description
        const adapters = Object.fromEntries(
          Object.entries(description.adapters).map(([name, adapter]) => [name, this.write(adapter)])
        )
        return { kind: 'fused', hidden_size: hiddenSize, num_heads: numHeads, adapters }
      }
    }
  }
}

type Fields = Readonly<Record<string, unknown>>

/** The other way, with everything checked as where users give it. */
export class ModuleReader {
  readonly #seen: ModuleDescription[] = []

  read(json: unknown, depth = 0): ModuleDescription {
    const fields = check.checkObject('module', json) as Fields
    if (depth > 32) throw check.valueError('module', 'a description of too many levels')
    if ('shared' in fields) {
      const before = this.#seen[check.checkInteger('shared', fields['shared'], 0)]
      if (before === undefined) throw check.valueError('shared', 'nothing that was written before has this number')
      return before
    }
    if (fields['kind'] === 'module') {
      return existingModule(check.checkString('path', fields['path']), check.checkString('type', fields['type']))
    }
    const description = this.#make(fields, depth)
    this.#seen.push(description)
    return description
  }

  #make(fields: Fields, depth: number): ModuleDescription {
    const hiddenSize = fields['hidden_size'] as number
    const activation = fields['activation'] as string
    switch (fields['kind']) {
      case 'sequential':
        return sequential(
          ...check.checkArray('modules', fields['modules']).map((module) => this.read(module, depth + 1))
        )
      case 'parallel':
        return parallel(this.read(fields['module'], depth + 1), this.read(fields['adapter'], depth + 1) as NewModule, {
          scale: fields['scale'] as number
        })
      case 'adapter_layer':
        return adapterLayer({ hiddenSize, adapterSize: fields['adapter_size'] as number, activation })
      case 'hierarchical':
        return hierarchical({ hiddenSize, adapterSizes: fields['adapter_sizes'] as number[], activation })
      case 'dynamic':
        return dynamicAdapter({
          hiddenSize,
          maxAdapterSize: fields['max_adapter_size'] as number,
          mask: fields['mask'] as 'soft',
          temperature: fields['temperature'] as number,
          start: fields['start'] as 'identity'
        })
      case 'fused': {
        const given = Object.entries(check.checkObject('adapters', fields['adapters']))
        const adapters = Object.fromEntries(
          given.map(([name, adapter]) => [name, this.read(adapter, depth + 1) as NewModule])
        )
        return fusedAdapters({ hiddenSize, numHeads: fields['num_heads'] as number, adapters })
      }
      default:
        throw check.valueError('kind', `${check.describe(fields['kind'])} is no kind of module`)
    }
  }
}
