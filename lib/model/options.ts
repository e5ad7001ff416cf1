import * as check from '../config/check.js'
import type { HeadSetup } from '../config/head-setup.js'
import type { ImageSize } from '../config/image-shape.js'
import { plain } from '../config/nearest.js'
import type { DownloadOptions } from '../exchange/hub.js'
import type { RowAdapters, TaskIds } from './setup.js'
import type { SkipLayers } from './skip-layers.js'
import type { TrunkOption } from './trunk.js'

/** What Python's libraries call an option that is here. */
const inPython: Readonly<Record<string, string>> = {
  ...{ loadas: 'as', name: 'as', version: 'revision', usesafetensors: 'format', headname: 'head' },
  ...{ adapternames: 'adapters', adaptersetup: 'adapters', dtype: 'trunk', torchdtype: 'trunk' }
}

/** Refuses what is no option, and suggests the one that was meant; what all calls have in common is checked. */
export function checkOptions(options: unknown, allowed: readonly string[]): void {
  const given = check.checkObject('options', options)
  check.checkKeys('options', given, allowed, (key) => {
    const here = Object.hasOwn(inPython, plain(key)) ? (inPython[plain(key)] as string) : ''
    return allowed.includes(here) ? `is called '${here}' here` : undefined
  })
  check.checkCommonOptions(given)
}

/** 'cuda' is the first of them, 'auto' is that where it works and otherwise the CPU. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}` | 'auto'

export function checkDevice(device: unknown, name = 'device'): Device {
  if (/^(cpu|auto|cuda(:\d{1,3})?)$/.test(check.checkString(name, device))) return device as Device
  throw check.rangeError(name, "'cpu', 'cuda', 'cuda:<number>' or 'auto'", device)
}

/** The device of a model that names none. */
export function defaultDevice(): Device {
  const named = process.env['TORCH_ADAPTERS_DEVICE']
  return named ? checkDevice(named, 'TORCH_ADAPTERS_DEVICE') : 'cpu'
}

export interface LoadOptions extends DownloadOptions {
  /** Default: what the environment's TORCH_ADAPTERS_DEVICE says, otherwise 'cpu'. */
  readonly device?: Device | undefined
  /**
   * How the base model's matrices are kept and multiplied. 'bfloat16' halves their memory and rounds them to 8 bits; they do
   * not train then, and nothing is merged into them. Adapters, heads, LayerNorms, biases and everything between two products
   * stay float32. 'auto': what a short measurement of the model's own products finds faster here, with float32 where
   * bfloat16 is not by a tenth. Default 'float32'.
   */
  readonly trunk?: TrunkOption | undefined
  /** Seeds what starts at random: adapters, heads, missing weights. Default 42. */
  readonly seed?: number | undefined
  /** Also what stands in the folder beside the base model: adapters, fusions, heads. Default true. */
  readonly withHead?: boolean | undefined
}

export interface ActiveOptions extends SkipLayers {
  /**
   * The head that answers, as if set as `activeHead` afterwards; or the heads of the setup's children, in a block of its form:
   * `Parallel('x', 'y')` over `Parallel('a', 'b')`. Default: as `activeHead` describes.
   */
  readonly head?: HeadSetup | undefined
}

export interface ForwardOptions extends SkipLayers {
  /** Which adapters run; with an array each row has its own. Default: the active ones. */
  readonly adapters?: RowAdapters | undefined
  /** Head that answers; null: hidden states only. Default: the one that `activeHead` describes. */
  readonly head?: string | null | undefined
  /**
   * Height and width of the images, where they are not the model's: its positions are interpolated (bicubic), as
   * transformers does with `interpolate_pos_encoding=True`. One size for all rows of a call.
   */
  readonly imageSize?: ImageSize | undefined
  /** Also the embeddings' output and every layer's. Default false. */
  readonly outputHiddenStates?: boolean | undefined
  /**
   * Also what each AdapterFusion attends to; in a network of an encoder and a decoder each of the decoder's. Nothing of it is
   * kept where it is not asked for. Default false.
   */
  readonly outputAdapterFusionAttentions?: boolean | undefined
  /** For MultiTask blocks: for each row the child that it goes to, by name or number. */
  readonly taskIds?: TaskIds | undefined
}

export interface PredictOptions extends SkipLayers {
  /** Which adapters run; with an array each row has its own, and its own head. Default: the active ones. */
  readonly adapters?: RowAdapters | undefined
  /** Head for all rows. Default: the one that `activeHead` describes. */
  readonly head?: string | undefined
  /** For MultiTask blocks: for each row the child that it goes to, by name or number. Default: the rows' own taskId. */
  readonly taskIds?: TaskIds | undefined
  /** Question answering: how many answers a row gets at most, the best first. Default 1. */
  readonly answerCount?: number | undefined
  /** Question answering: tokens of an answer at most. Default 30. */
  readonly maxAnswerLength?: number | undefined
  /** Question answering: whether '' may be an answer, for heads that learned it (SQuAD 2). Default false. */
  readonly allowNoAnswer?: boolean | undefined
  /**
   * Also what each AdapterFusion attends to, for each token of a row; in a network of an encoder and a decoder each of the
   * decoder's, for its tokens. Default false.
   */
  readonly outputAdapterFusionAttentions?: boolean | undefined
  /**
   * Height and width of the images, where they are not the model's: its positions are interpolated (bicubic), as
   * transformers does with `interpolate_pos_encoding=True`. One size for all rows of a call.
   */
  readonly imageSize?: ImageSize | undefined
  /** Rows in one pass. Default 32. */
  readonly batchSize?: number | undefined
  readonly signal?: AbortSignal | undefined
}
