import test from 'ava'
import { type DecodedImage, imagePixels } from '../../lib/index.js'

// Two lines of three pixels, RGB.
const data = Uint8Array.from({ length: 18 }, (_, i) => i * 15)
const image: DecodedImage = { data, width: 3, height: 2 }

test('channel by channel, line by line, scaled as ViTImageProcessor does', (t) => {
  const values = imagePixels(image)
  t.is(values.length, 18)
  // Channel 1 of line 1, column 0: pixel 3, byte 10.
  t.is(values[1 * 6 + 3], Math.fround((150 / 255 - 0.5) / 0.5))
  const json = { image_mean: [0.4, 0.5, 0.6], image_std: [0.2, 0.3, 0.4], size: { height: 2, width: 3 }, resample: 2 }
  t.is(imagePixels(image, json)[2 * 6 + 5], Math.fround((255 / 255 - 0.6) / 0.4))
  t.is(imagePixels(image, { doNormalize: false })[5], Math.fround(225 / 255))
  t.is(imagePixels(image, { doNormalize: false, doRescale: false })[5], 225)
})

test('what does not fit says so', (t) => {
  t.throws(() => imagePixels({ ...image, width: 4 }), { message: /2 × 4 × 2 = 16 bytes, got 18/ })
  t.throws(() => imagePixels({ ...image, data: [1, 2] as unknown as Uint8Array }), { message: /Uint8Array/ })
  // As sharp's toBuffer({ resolveWithObject: true }).
  t.throws(() => imagePixels({ data, info: { width: 3, height: 2, channels: 3 } } as unknown as DecodedImage), {
    message: 'image: its size stands in its info: give imagePixels({ data, ...info })'
  })
  const rgba = { data: new Uint8Array(24), width: 3, height: 2 }
  t.throws(() => imagePixels(rgba, { imageMean: [0.5, 0.5, 0.5] }), { message: /alpha/ })
  t.throws(() => imagePixels(rgba), { message: /1 or 3 channels, got 4.*alpha.*removeAlpha/ })
  t.throws(() => imagePixels({ ...rgba, channels: 4 }, { doNormalize: false }), { message: /alpha/ })
  t.throws(() => imagePixels({ data: new Uint8Array(12), width: 3, height: 2 }), {
    message: /got 2, of which the last is alpha/
  })
  // A model of four channels has a mean for each.
  t.is(imagePixels(rgba, { imageMean: [0.5, 0.5, 0.5, 0.5] }).length, 24)
  t.is(imagePixels({ data: new Uint8Array(6), width: 3, height: 2 }).length, 6)
  t.throws(() => imagePixels(image, { imageStd: 'x' as unknown as number }), { message: /imageStd/ })
})
