import test from 'ava'
import * as check from '../../lib/config/check.js'

test('a message gives the name, what was expected and what came', (t) => {
  t.throws(() => check.checkPositiveInteger('width', -1), {
    instanceOf: RangeError,
    code: 'ERR_OUT_OF_RANGE',
    message: 'width: expected a positive integer, got -1 (a number)'
  })
  t.throws(() => check.checkPositiveInteger('width', '3'), {
    instanceOf: TypeError,
    code: 'ERR_INVALID_ARG_TYPE',
    message: "width: expected a positive integer, got '3'"
  })
})

test('numbers that are not finite or not safe are refused', (t) => {
  for (const value of [Number.NaN, Infinity, -Infinity]) t.throws(() => check.checkNumber('x', value))
  t.throws(() => check.checkInteger('x', 2 ** 53))
  t.throws(() => check.checkInteger('x', 1.5))
  t.is(check.checkInteger('x', -3), -3)
})

test('ranges: both kinds of limit', (t) => {
  t.throws(() => check.checkNumber('x', 0, { above: 0 }), { message: /a number above 0, got 0/ })
  t.throws(() => check.checkNumber('x', 1, { from: 0, below: 1 }), { message: /at least 0 and below 1/ })
  t.is(check.checkNumber('x', 1, { to: 1 }), 1)
  t.throws(() => check.checkInteger('x', 9, 1, 8), { message: /a positive integer up to 8/ })
})

test('a word outside the choices brings the nearest one', (t) => {
  t.throws(() => check.checkOneOf('strategy', 'epohc', ['no', 'steps', 'epoch']), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: "strategy: expected one of 'no', 'steps', 'epoch', got 'epohc'. Did you mean 'epoch'?"
  })
})

test('unknown keys are refused, those of elsewhere by what is known of them', (t) => {
  t.throws(() => check.checkKeys('options', { widht: 1 }, ['width', 'height']), {
    message: "options: unknown option 'widht'. Did you mean 'width'?"
  })
  t.throws(() => check.checkKeys('options', { zzz: 1 }, ['width', 'height']), { message: /Known: width, height/ })
  t.throws(() => check.checkKeys('options', { size: 1 }, ['width'], () => "is called 'width' here"), {
    message: "options: 'size' is called 'width' here"
  })
  // Every object inherits this key.
  t.throws(() => check.checkKeys('options', { toString: 1 }, ['width']), { message: /unknown option 'toString'/ })
})

test('describe says what gives its values one by one', (t) => {
  const values = [1, 2]
  const generator = (function* () {
    yield* values
  })()
  t.is(check.describe(generator), 'a generator')
  const later = (async function* () {
    yield* values
  })()
  t.is(check.describe(later), 'an async generator')
  for (const iterator of [values.values(), new Map().entries(), 'ab'[Symbol.iterator](), 'ab'.matchAll(/a/g)]) {
    t.is(check.describe(iterator), 'an iterator')
  }
})

test('describe stays short', (t) => {
  t.is(check.describe('x'.repeat(1000)).length, 82)
  t.is(check.describe([1, 2]), 'an array of 2')
  t.is(check.describe(new Map()), 'a Map')
  t.is(check.describe(new Int32Array(2)), 'an Int32Array')
  t.is(check.describe(Object.create(null)), 'an object')
  t.is(check.describe(new (class {})()), 'an object')
  t.is(check.describe(null), 'null')
})
