import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { ExportNote } from '../config/exported-config.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { Model } from './model.js'
import { checkSameConfig } from './same-config.js'

const operation = 'load the exported model'
const sameNetwork = 'The weights and the archive must be of one class and one config'
/** A message names so many weights and counts the others. */
const namesTold = 5

/**
 * Another checkpoint's weights in the graph. What the graph asks for must be there, and what is there must have a place: a
 * layer more, or biases that the graph's layers have not, are another network's. Left out are a head that the graph has not,
 * a pooler, and buffers.
 */
export async function loadExportedWeights(model: Model, source: string, note: ExportNote): Promise<void> {
  checkSameConfig(operation, source, note)
  const { missing, unplaced, hasPrefix } = await nativeCall(() => model.native.loadWeights(source)).catch((error) => {
    throw otherShapes(source, error)
  })
  const isExtra = extraPart(model, note.prefix, hasPrefix)
  const others = unplaced.filter((name) => !isBuffer(name) && !isExtra(name))
  if (missing.length > 0) {
    const more = others.length === 0 ? '' : `, and has others: ${some(others)}`
    const problem = `${source} lacks weights of the graph: ${some(missing)}${more}`
    throw new AdapterError('ERR_STATE_DICT', operation, problem, { hint: sameNetwork })
  }
  if (others.length === 0) return
  throw new AdapterError(
    'ERR_STATE_DICT',
    operation,
    `the graph has no place for weights of ${source}: ${some(others)}`,
    {
      expected: `a checkpoint of ${model.config.exported?.className} and of the config that was exported`,
      hint:
        note.prefix === ''
          ? 'Export that network'
          : "Export that checkpoint, or save it in Python as the archive's class (from_pretrained and save_pretrained)"
    }
  )
}

/** What folders that are saved name as their base model: the checkpoint's folder, as Python loads it. */
export function checkpointName(weights: string): string {
  return statSync(weights, { throwIfNoEntry: false })?.isFile() ? dirname(weights) : weights
}

/** The core speaks of config.json, which an archive may have none of. */
function otherShapes(source: string, error: unknown): unknown {
  const shapes = error instanceof AdapterError && /shapes that do not fit config\.json: (.*)/s.exec(error.problem)?.[1]
  if (!shapes) return error
  return new AdapterError('ERR_STATE_DICT', operation, `${source} has weights of other shapes: ${shapes}`, {
    hint: sameNetwork,
    cause: error
  })
}

function some(names: readonly string[]): string {
  const more = names.length > namesTold ? `, and ${names.length - namesTold} more` : ''
  return `${names.slice(0, namesTold).join(', ')}${more}`
}

/** Numbers that models make anew from their config, and masks: old checkpoints hold them. */
const isBuffer = (name: string): boolean =>
  /(^|\.)(inv_freq|original_inv_freq|cos_cached|sin_cached|masked_bias)$|(^|\.)(attn|attention)\.bias$/.test(name)

/**
 * Parts of the checkpoint's class that the graph is without: outside of the base model a module of which the graph holds
 * nothing, that is a head, and in it the pooler, which heads alone read.
 * @param hasPrefix whether the file is of a class with a head
 */
function extraPart(model: Model, prefix: string, hasPrefix: boolean): (name: string) => boolean {
  if (prefix === '') return () => false
  const { prefix: own = '', filePrefix = '' } = model.config.exported ?? {}
  const front = hasPrefix && filePrefix !== '' ? `${filePrefix}.` : ''
  const held = model.namedParameters().map(({ name }) => front + (own === '' ? name : name.slice(own.length + 1)))
  const isHeld = (module: string) => held.some((name) => name.startsWith(`${module}.`))
  return (name) => {
    const pooler = /^(.*\.)?pooler(?=\.)/.exec(name)?.[0]
    if (pooler !== undefined) return !isHeld(pooler)
    const module = name.slice(0, Math.max(0, name.lastIndexOf('.')))
    const ofClass = hasPrefix || filePrefix === ''
    return ofClass && module !== '' && !name.startsWith(`${prefix}.`) && !isHeld(module)
  }
}
