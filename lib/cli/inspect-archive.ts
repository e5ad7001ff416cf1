import { isExportArchive } from '../exchange/export-archive.js'
import { AutoModel } from '../model/auto-model.js'

/** What an archive of torch.export says of itself. */
export interface ArchiveSummary {
  readonly class: string
  readonly type: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly layers: number
  readonly hiddenSize: number
  readonly parameters: number
  readonly tokenizer: boolean
  /** Where adapters stand, a sentence each. */
  readonly placement: readonly string[]
}

export async function archivePart(file: string): Promise<{ readonly archive?: ArchiveSummary }> {
  if (!isExportArchive(file)) return {}
  using model = await AutoModel.fromExported(file, { device: 'cpu' })
  const { exported, modelType, numHiddenLayers, hiddenSize } = model.config
  const { className = '', inputs = [], outputs = [] } = exported ?? {}
  const sizes = model.namedParameters().map(({ shape }) => shape.reduce((product, size) => product * size, 1))
  return {
    archive: {
      ...{ class: className, type: modelType, inputs, outputs, layers: numHiddenLayers, hiddenSize },
      parameters: sizes.reduce((sum, size) => sum + size, 0),
      tokenizer: model.tokenizer !== undefined,
      placement: model.explainPlacement()
    }
  }
}

export function describeArchive(archive: ArchiveSummary): string[] {
  const { inputs, outputs, layers, hiddenSize, parameters, placement } = archive
  return [
    'archive of torch.export, which AutoModel.fromExported reads',
    `  class         ${archive.class}, ${archive.type}`,
    `  size          ${layers} layers, hidden size ${hiddenSize}, ${parameters} parameters`,
    `  inputs        ${inputs.join(', ')}`,
    `  outputs       ${outputs.join(', ')}`,
    `  tokenizer     ${archive.tokenizer ? 'inside' : 'none'}`,
    '',
    'where adapters stand',
    ...placement.map((sentence) => `  ${sentence}`)
  ]
}
