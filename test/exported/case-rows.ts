import type { Row } from '../../lib/index.js'
import type { ExportedGroup } from '../parity/support/exported.js'
import { trainingOf } from './training-case.js'
import { valueRows } from './value-rows.js'

/** The rows of the largest batch of a fixture's training, as a dataset has them. */
export function rowsOf(group: ExportedGroup): Row[] {
  const batch = trainingOf(group).batches?.at(-1)
  const given = batch?.inputs ?? {}
  const ids = (name: string, mask: string, row: number) =>
    (given[name] as number[][])[row]?.filter((_, i) => (given[mask] as number[][])[row]?.[i] === 1) ?? []
  const values = 'input_ids' in given ? [] : valueRows(group, given)
  return (batch?.labels ?? []).map((label, row): Row => {
    if (values.length > 0) {
      const own = values[row] ?? new Float32Array()
      return 'pixel_values' in given ? { pixelValues: own, label } : { inputValues: own, label }
    }
    const inputIds = ids('input_ids', 'attention_mask', row)
    return {
      inputIds,
      ...('decoder_input_ids' in given && {
        decoderInputIds: ids('decoder_input_ids', 'decoder_attention_mask', row)
      }),
      ...('token_type_ids' in given && {
        tokenTypeIds: (given['token_type_ids'] as number[][])[row]?.slice(0, inputIds.length)
      }),
      label
    }
  })
}
