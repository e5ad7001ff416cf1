import test from 'ava'
import { parseShorthand } from '../../lib/config/shorthand.js'

const values = (text: string) => parseShorthand(text).map((part) => [part.name, part.values])

test('names, fields and unions', (t) => {
  t.deepEqual(values('seq_bn'), [['seq_bn', {}]])
  t.deepEqual(values('seq_bn[]'), [['seq_bn', {}]])
  t.deepEqual(values('lora[r=200,alpha=8]'), [['lora', { r: 200, alpha: 8 }]])
  t.deepEqual(values(' prefix_tuning | par_bn '), [
    ['prefix_tuning', {}],
    ['par_bn', {}]
  ])
  t.deepEqual(values('compacter++|pfeiffer+inv[dropout=0.1,]'), [
    ['compacter++', {}],
    ['pfeiffer+inv', { dropout: 0.1 }]
  ])
})

test('Python literals', (t) => {
  t.deepEqual(
    values(
      "a[t=True, f=False, n=None, s='x', l=[1, 'q', []], u=(1, 2,), v=(3), w=(3,), d={'0': 8, 1: [2], 'default': 1.5}]"
    ),
    [
      [
        'a',
        {
          t: true,
          f: false,
          n: null,
          s: 'x',
          l: [1, 'q', []],
          u: [1, 2],
          v: 3,
          w: [3],
          d: { '0': 8, '1': [2], default: 1.5 }
        }
      ]
    ]
  )
  t.deepEqual(values('a[i=-3, p=+4, f=.5, g=2., e=1e-4, big=1_000]'), [
    ['a', { i: -3, p: 4, f: 0.5, g: 2, e: 1e-4, big: 1000 }]
  ])
})

test('any character may stand in a string', (t) => {
  t.deepEqual(values(`a[x='p|q=[r],]', y="it's", z='\\'\\\\\\n\\u00e9\\q']|b`), [
    ['a', { x: 'p|q=[r],]', y: "it's", z: "'\\\né\\q" }],
    ['b', {}]
  ])
})

test('__proto__ is a key like any other', (t) => {
  const [part] = parseShorthand("a[d={'__proto__': 1}]")
  const dict = part?.values['d'] as object
  t.deepEqual(Object.keys(dict), ['__proto__'])
  t.is(Object.getPrototypeOf(dict), Object.prototype)
})

test('errors name the position and what was expected', (t) => {
  const cases: [string, RegExp][] = [
    ['', /position 1 .*the name of an adapter config, got the end/],
    ['a|', /position 3 .*the name/],
    ['seq_bn[reduction_factor=2', /position 26 .*expected ',' or '\]', got the end of the text/],
    ['seq_bn[reduction_factor 2]', /position 25 .*'=' after 'reduction_factor', got '2'/],
    ['seq_bn[x=dict(default=1)]', /position 10 .*a quoted string \('dict'\)/],
    ["seq_bn[x='abc]", /position 10 .*the closing ' of the string/],
    ['seq_bn[x=1] extra', /position 13 .*'\[', '\|' or the end, got 'extra'/],
    ['seq_bn[x=1, x=2]', /position 13 .*'x' is there twice/],
    ['a[x={[1]: 2}]', /position 6 .*a string or a number as key/],
    ['a[x=1.2.3]', /position 8 .*',' or '\]', got '\.3/],
    [`a[x=${'['.repeat(1000)}]`, /nested brackets/]
  ]
  for (const [text, message] of cases) t.throws(() => parseShorthand(text), { instanceOf: TypeError, message }, text)
  t.throws(() => parseShorthand('a'.repeat(20_000)), { message: /at most 10000 characters/ })
})
