import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as check from '../config/check.js'
import { exportedModelConfig, readExportNote } from '../config/exported-config.js'
import type { ExportReading } from '../config/exported-network.js'
import { nativePlacement, type Placement } from '../config/exported-placement.js'
import { nativeModelConfig } from '../config/model-config.js'
import { ownHead } from '../config/own-head.js'
import { inFile } from '../config/read-json.js'
import { TextTokenizer } from '../data/tokenizer.js'
import { hasTokenizer, tokenizerFiles } from '../data/tokenizer-files.js'
import { defaultHead } from '../exchange/static-heads.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { Addon } from '../native/types.js'
import { checkpointName, loadExportedWeights } from './exported-weights.js'
import { Model } from './model.js'
import { checkOptions, type LoadOptions } from './options.js'

export interface ExportedOptions extends Pick<LoadOptions, 'device' | 'seed'> {
  /** Other weights for the same graph: a file, or a Hugging Face folder. Default: the archive's own. */
  readonly weights?: string | undefined
  /** Default: the one that the archive carries, where it does. */
  readonly tokenizer?: TextTokenizer | undefined
  /**
   * Which output heads read, by its name (`model.config.exported.outputs`): one with a value for each token instead of the
   * first such, or one with a value for each row (`pooler_output`), which heads for rows read instead of a token. Default:
   * the first output with a value for each token, or for each row where there is none.
   */
  readonly output?: string | undefined
  /**
   * Which token heads for rows read, or the mean of all, of an output with a value for each token. Default: the first, or the
   * last where tokens see only those before them.
   */
  readonly pooling?: 'first' | 'last' | 'mean' | undefined
  /**
   * Where adapters stand. Default 'auto': at the residual sub-layers that the graph shows (`explainPlacement`). Patterns name
   * modules instead, one a layer: `{ attention: 'h.*.self_attention', feedForward: 'h.*.mlp' }`; what is left out stays as the
   * graph shows it, and null leaves it empty. Adapters then stand where what the module gives is added to the stream, or
   * right behind it where it is added to nothing.
   */
  readonly placement?: Placement | undefined
}

const operation = 'load the exported model'

/** The model of an archive, on a device that was chosen. */
export async function loadExported(
  addon: Addon,
  path: string,
  options: ExportedOptions,
  { device, seed }: { readonly device: string; readonly seed: number }
): Promise<Model> {
  checkOptions(options, ['device', 'seed', 'weights', 'tokenizer', 'output', 'pooling', 'placement'])
  const reading = readingOf(options)
  const { placement = 'auto' } = options
  const weights = options.weights === undefined ? undefined : check.checkNonEmptyString('weights', options.weights)
  const { attention, feedForward } = nativePlacement(placement)
  const { handle, facts } = await nativeCall(() =>
    addon.openExported(path, device, reading.output ?? '', reading.pooling, attention, feedForward)
  )
  const written = jsonOf(path, facts.extra['torch_adapters.json'])
  const inNote = <T>(run: () => T): T => inFile(`${path}, extra/torch_adapters.json`, operation, run)
  const [note, ofArchive] = inNote(() => {
    const read = readExportNote(written)
    return [read, exportedModelConfig(facts, read, path, reading, placement)] as const
  })
  const config =
    weights === undefined ? ofArchive : Object.freeze({ ...ofArchive, nameOrPath: checkpointName(weights) })
  const prefix = config.exported?.filePrefix ?? ''
  const tokenizer = options.tokenizer ?? tokenizerOf(facts.extra)
  const native = nativeCall(() => addon.createExported(handle, nativeModelConfig(config), prefix, device))
  const about = { source: undefined, device, seed, trunk: 'float32', trunkProbe: null } as const
  const model = new Model({ native, config, tokenizer, ...about })
  try {
    const head = inNote(() => ownHead(facts, note, config))
    if (head !== undefined) {
      model.addHead(defaultHead, head)
      model.headChoice.standIn()
    }
    if (weights !== undefined) await loadExportedWeights(model, weights, note)
  } catch (error) {
    model.dispose()
    throw error
  }
  return model
}

function readingOf({ output, pooling }: ExportedOptions): ExportReading {
  return {
    output: output === undefined ? null : check.checkNonEmptyString('output', output),
    pooling: pooling === undefined ? 'automatic' : check.checkOneOf('pooling', pooling, ['first', 'last', 'mean'])
  }
}

function jsonOf(path: string, bytes: Buffer | undefined): Record<string, unknown> | undefined {
  if (bytes === undefined) return undefined
  try {
    return check.checkObject('torch_adapters.json', JSON.parse(bytes.toString('utf8')))
  } catch (cause) {
    throw new AdapterError('ERR_FILE_FORMAT', operation, `${path}: its extra/torch_adapters.json is no JSON object`, {
      hint: 'Export the model again',
      cause
    })
  }
}

/** The tokenizer whose files lie in the archive as they lay in a folder. */
function tokenizerOf(extra: Readonly<Record<string, Buffer>>): TextTokenizer | undefined {
  const files = tokenizerFiles.filter((name) => extra[name] !== undefined)
  if (files.length === 0) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
  try {
    for (const name of files) writeFileSync(join(folder, name), extra[name] as Buffer)
    return hasTokenizer(folder) ? TextTokenizer.fromFolder(folder) : undefined
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
