import { type NonLinearity, nonLinearities } from './activations.js'
import * as check from './check.js'

export interface OutputAdapterOptions {
  readonly adapterSize: number
  /** Default 'relu'. */
  readonly activation?: NonLinearity | undefined
}

/** One adapter layer on the last hidden state, behind the encoder: what each task of a MultiTaskAdapterModel has. Frozen. */
export class OutputAdapterConfig {
  readonly method = 'output' as const
  readonly adapterSize: number
  readonly activation: NonLinearity

  constructor(options: OutputAdapterOptions) {
    const fields = check.checkObject('output adapter', options)
    check.checkKeys('output adapter', fields, ['adapterSize', 'activation'])
    this.adapterSize = check.checkPositiveInteger('adapterSize', fields['adapterSize'])
    this.activation = check.checkOneOf('activation', fields['activation'] ?? 'relu', nonLinearities)
    Object.freeze(this)
  }

  replace(overrides: Partial<OutputAdapterOptions>): OutputAdapterConfig {
    const { adapterSize, activation } = this
    return new OutputAdapterConfig({ adapterSize, activation, ...overrides })
  }

  /** As adapter_config.json holds it; AdapterHub has no such method. */
  toJSON(): Record<string, unknown> {
    return { architecture: 'output_adapter', adapter_size: this.adapterSize, activation: this.activation }
  }

  static fromJSON(fields: Record<string, unknown>): OutputAdapterConfig {
    const { adapter_size: adapterSize, ...rest } = fields
    return new OutputAdapterConfig({ adapterSize, ...rest } as unknown as OutputAdapterOptions)
  }
}
