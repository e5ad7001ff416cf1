import { inspect } from 'node:util'
import test from 'ava'
import { AdapterError, nativeCall, toAdapterError } from '../../lib/native/errors.js'

const native = () =>
  Object.assign(new Error("load adapter 'a': shape (expected [2], got [3])"), {
    code: 'ERR_STATE_DICT',
    operation: "load adapter 'a'",
    expected: '[2]',
    got: '[3]',
    hint: ''
  })

test('the message names operation, problem, expected, got and what to do', (t) => {
  const error = new AdapterError('ERR_FILE', 'add adapter', 'wrong size', { expected: '4', got: '5', hint: 'Use 4' })
  t.is(error.message, 'add adapter: wrong size (expected 4, got 5). Use 4')
  t.is(
    new AdapterError('ERR_FILE', 'add adapter', 'wrong size', { got: '5' }).message,
    'add adapter: wrong size (got 5)'
  )
  t.is(error.name, 'AdapterError')
  t.true(error instanceof Error)
})

test('what a file repeats in a message is cut, and lists of many names are not', (t) => {
  const word = 'y'.repeat(1e6)
  const spaced = 'y '.repeat(5e5)
  const cut = (problem: string, parts: object = {}) => new AdapterError('ERR_FILE', 'read', problem, parts)
  for (const error of [
    cut(`the head '${word}' is not one`),
    cut(`the head '${spaced}' is not one`),
    cut('another model', { got: `model type ${word}` }),
    toAdapterError(Object.assign(native(), { message: `load the head '${word}': shape` })) as AdapterError
  ]) {
    t.true(error.message.length < 400, `${error.message.length}`)
    t.true(error.problem.length < 400)
    t.regex(error.message, /y…/)
  }
  const names = Array.from({ length: 5000 }, (_, i) => `'bert.encoder.layer.${i}.output.weight'`).join(', ')
  t.is(cut(`missing ${names}`).message, `read: missing ${names}`)
})

test('a quoted message that ends in a full stop gets no second one', (t) => {
  const message = (problem: string, parts: object) => new AdapterError('ERR_FILE', 'read', problem, parts).message
  t.is(message('x: no such label.', { hint: 'Check it.' }), 'read: x: no such label. Check it.')
  t.is(message("Did you mean 'a'?", { hint: 'Check it.' }), "read: Did you mean 'a'? Check it.")
  t.is(message('it broke.', { got: 'nothing.', hint: 'Check it.' }), 'read: it broke (got nothing). Check it.')
  t.is(message('it broke.', {}), 'read: it broke.')
})

test('the message is whole, and a console shows each part of it once', (t) => {
  const parts = { expected: '4', got: '5', hint: 'Use 4.' }
  const translated = toAdapterError(
    Object.assign(new Error('add adapter: wrong size (expected 4, got 5). Use 4.'), {
      ...{ code: 'ERR_FILE', operation: 'add adapter', ...parts }
    })
  )
  for (const error of [new AdapterError('ERR_FILE', 'add adapter', 'wrong size', parts), translated as AdapterError]) {
    t.is(error.message, 'add adapter: wrong size (expected 4, got 5). Use 4.')
    t.is(error.problem, 'add adapter: wrong size (expected 4, got 5)')
    t.is(error.hint, 'Use 4.')
    const { cause: _, ...own } = Object.getOwnPropertyDescriptors(error)
    const alone = Object.create(Object.getPrototypeOf(error), own)
    t.is(inspect(alone).split('Use 4.').length, 2, inspect(alone))
  }
})

test("the addon's errors keep their fields and message", (t) => {
  const original = native()
  const error = toAdapterError(original) as AdapterError
  t.true(error instanceof AdapterError)
  t.is(error.message, original.message)
  t.like(error, { code: 'ERR_STATE_DICT', operation: "load adapter 'a'", expected: '[2]', got: '[3]', hint: undefined })
  t.is(error.cause, original)
})

test('other errors come back as they are', (t) => {
  const range = new RangeError('x')
  t.is(toAdapterError(range), range)
  const system = Object.assign(new Error('no file'), { code: 'ENOENT' })
  t.is(toAdapterError(system), system)
  t.is(toAdapterError('text'), 'text')
})

test('calls that throw and promises that reject are translated alike', async (t) => {
  const direct = t.throws(() =>
    nativeCall(() => {
      throw native()
    })
  )
  t.true(direct instanceof AdapterError)
  const promised = await t.throwsAsync(nativeCall(() => Promise.reject(native())))
  t.true(promised instanceof AdapterError)
  t.is(
    nativeCall(() => 5),
    5
  )
  t.is(await nativeCall(() => Promise.resolve(6)), 6)
})
