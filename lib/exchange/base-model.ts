import * as check from '../config/check.js'
import type { ModelConfig } from '../config/model-config.js'
import {
  isSamePlacement,
  type PlacementRecord,
  placementRecordFromJson,
  placementText
} from '../config/placement-record.js'
import { AdapterError } from '../native/errors.js'

/** Which model an adapter was trained on, as far as its folder says. */
export interface BaseModelNote {
  /** `model_type`, such as 'bert'. */
  readonly type: string | null
  /** `model_class`, such as 'BertAdapterModel'. */
  readonly class: string | null
  /** `model_name`: hub id or path; '' where nobody noted it. */
  readonly name: string
  readonly hiddenSize: number | null
  /** Of an exported network; null in other folders. */
  readonly placed: PlacementRecord | null
}

export function modelNote(json: Readonly<Record<string, unknown>>): BaseModelNote {
  const hiddenSize = json['hidden_size'] ?? null
  const own = check.isPlainObject(json['torch_adapters']) ? json['torch_adapters'] : {}
  return {
    type: optionalString('model_type', json['model_type']),
    class: optionalString('model_class', json['model_class']),
    name: optionalString('model_name', json['model_name']) ?? '',
    hiddenSize: hiddenSize === null ? null : check.checkPositiveInteger('hidden_size', hiddenSize),
    placed: placementRecordFromJson(own['placement'])
  }
}

export function optionalString(name: string, value: unknown): string | null {
  return value === null || value === undefined ? null : check.checkString(name, value)
}

/** Refuses an adapter, head or fusion that was trained on another kind of model, before any weight is read. */
export function checkBaseModel(
  { folder, model }: { readonly folder: string; readonly model: BaseModelNote },
  config: ModelConfig
): void {
  const expected: [string, unknown, unknown][] = [
    ['model type', config.modelType, model.type ?? config.modelType],
    ['hidden size', config.hiddenSize, model.hiddenSize ?? config.hiddenSize]
  ]
  for (const [what, ours, theirs] of expected) {
    if (ours === theirs) continue
    const trainedOn = model.name === '' ? '' : ` It was trained on ${model.name}.`
    throw new AdapterError('ERR_WRONG_MODEL', 'load the weights', `${folder} belongs to another model`, {
      expected: `${what} ${ours}`,
      got: `${what} ${theirs}`,
      hint: `Load it into the model that it was trained on.${trainedOn}`
    })
  }
}

/** Refuses what stands at the sub-layers of another placement. `here`: what it depends on in the model; null: on nothing. */
export function checkSamePlacement(
  { folder, model: { placed } }: { readonly folder: string; readonly model: BaseModelNote },
  here: PlacementRecord | null
): void {
  if (here === null || placed === null || isSamePlacement(here, placed)) return
  const [ours, theirs] = [placementText(here), placementText(placed)]
  throw new AdapterError('ERR_WRONG_MODEL', 'load the weights', `${folder} was saved under another placement`, {
    expected: `placement ${ours}`,
    got: `placement ${theirs}`,
    hint: `Open the archive with { placement: ${theirs} }, and its adapters stand where they were trained.`
  })
}
