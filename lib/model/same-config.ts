import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { ExportNote } from '../config/exported-config.js'
import { readJsonObject } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'

/** Fields of config.json that stand in a graph as numbers or operators: no shape of a weight tells of them. */
const inGraph = [
  ...['hidden_act', 'hidden_activation', 'activation_function', 'position_embedding_type'],
  ...['layer_norm_eps', 'layer_norm_epsilon', 'rms_norm_eps', 'norm_eps'],
  ...['num_attention_heads', 'n_head', 'n_heads', 'num_heads', 'num_key_value_heads', 'head_dim'],
  ...['rope_theta', 'rope_scaling', 'rope_local_base_freq', 'partial_rotary_factor', 'sliding_window', 'layer_types'],
  ...['attn_logit_softcapping', 'final_logit_softcapping', 'query_pre_attn_scalar', 'scale_attn_weights']
]

/** Refuses a folder of another kind of network, or of one that computes otherwise with the same weights. */
export function checkSameConfig(operation: string, source: string, { modelType, config }: ExportNote): void {
  const file = join(source, 'config.json')
  if (modelType === '' || !existsSync(file)) return
  const theirs = readJsonObject(file, operation)
  const type = theirs['model_type']
  const fields = typeof type === 'string' && type !== modelType ? ['model_type'] : inGraph
  const ours: Readonly<Record<string, unknown>> = { ...config, model_type: modelType }
  // Null may be what a class makes of other fields, as Qwen2 of sliding_window where use_sliding_window is false.
  const isTold = (field: string) => theirs[field] != null && ours[field] != null
  const other = fields.filter((field) => isTold(field) && JSON.stringify(theirs[field]) !== JSON.stringify(ours[field]))
  if (other.length === 0) return
  const told = (all: Readonly<Record<string, unknown>>) =>
    other.map((field) => `${field} ${JSON.stringify(all[field])}`).join(', ')
  const problem = `${source} is of a network that computes otherwise than the archive's`
  throw new AdapterError('ERR_INVALID_FILE', operation, problem, {
    expected: told(ours),
    got: told(theirs),
    hint: 'Export that checkpoint. Where its config.json is wrong, name the file of weights itself.'
  })
}
