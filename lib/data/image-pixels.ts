import { camelCase } from '../config/case.js'
import * as check from '../config/check.js'

/** An image as decoders give it: line by line, the channels of each pixel side by side, 0 to 255. */
export interface DecodedImage {
  readonly data: Uint8Array | Uint8ClampedArray
  readonly width: number
  readonly height: number
  /** Default: as many as the data has for each pixel. */
  readonly channels?: number | undefined
}

/** What a preprocessor_config.json says about values; its own spelling does as well, and its other fields are left alone. */
export interface PixelScaling {
  /** `do_rescale`: values times `rescale_factor`. Default true, 1 / 255. */
  readonly doRescale?: boolean | undefined
  readonly rescaleFactor?: number | undefined
  /** `do_normalize`: (value - mean) / std, each one number or one for each channel. Default true, 0.5. */
  readonly doNormalize?: boolean | undefined
  readonly imageMean?: number | readonly number[] | undefined
  readonly imageStd?: number | readonly number[] | undefined
}

/**
 * The `pixelValues` of a decoded image, [channels, height, width], scaled as Hugging Face's image processors do. The image
 * must have the model's size, and no alpha: `sharp(file).resize(224, 224, { fit: 'fill' }).removeAlpha().raw()` gives such
 * data.
 */
export function imagePixels(
  image: DecodedImage,
  scaling: PixelScaling | Readonly<Record<string, unknown>> = {}
): Float32Array {
  const { data, ...others } = check.checkObject('image', image) as unknown as DecodedImage
  if (image.width === undefined && 'info' in others) {
    throw check.valueError('image', 'its size stands in its info: give imagePixels({ data, ...info })')
  }
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray)) {
    throw check.typeError('image.data', 'bytes, in a Uint8Array', data)
  }
  const pixels =
    check.checkPositiveInteger('image.width', image.width) * check.checkPositiveInteger('image.height', image.height)
  const channels = check.checkPositiveInteger(
    'image.channels',
    image.channels ?? Math.max(1, Math.floor(data.length / pixels))
  )
  if (data.length !== pixels * channels) {
    const size = `${image.height} × ${image.width} × ${channels}`
    throw check.valueError('image.data', `expected ${size} = ${pixels * channels} bytes, got ${data.length}`)
  }
  checkNoAlpha(channels, scaling)
  const given = new Map(
    Object.entries(check.checkObject('scaling', scaling)).map(([key, value]) => [camelCase(key), value])
  )
  const doRescale = check.checkBoolean('doRescale', given.get('doRescale') ?? true)
  const doNormalize = check.checkBoolean('doNormalize', given.get('doNormalize') ?? true)
  const factor = doRescale ? check.checkNumber('rescaleFactor', given.get('rescaleFactor') ?? 1 / 255) : 1
  const mean = byChannel('imageMean', given.get('imageMean') ?? 0.5, channels)
  const std = byChannel('imageStd', given.get('imageStd') ?? 0.5, channels)
  const values = new Float32Array(data.length)
  for (let channel = 0; channel < channels; channel++) {
    const [m = 0, s = 1] = doNormalize ? [mean[channel], std[channel]] : []
    for (let i = 0; i < pixels; i++)
      values[channel * pixels + i] = ((data[i * channels + channel] ?? 0) * factor - m) / s
  }
  return values
}

/** Four channels are colours and their opacity, unless the scaling has a number for each. */
function checkNoAlpha(channels: number, scaling: object): void {
  if ((channels !== 2 && channels !== 4) || Object.values(scaling).some(Array.isArray)) return
  const message = `expected 1 or 3 channels, got ${channels}, of which the last is alpha. Leave it out (sharp: .removeAlpha())`
  throw check.valueError(
    'image.data',
    `${message}; for a model of ${channels} channels give imageMean a number for each`
  )
}

function byChannel(name: string, value: unknown, channels: number): number[] {
  const list = Array.isArray(value) ? (value as unknown[]) : new Array<unknown>(channels).fill(value)
  if (list.length !== channels) {
    const hint = channels === 4 ? ': leave the alpha channel out' : ''
    throw check.valueError(name, `expected ${channels} numbers, one for each channel, got ${list.length}${hint}`)
  }
  return list.map((one, i) => check.checkNumber(`${name}[${i}]`, one))
}
