import test from 'ava'
import { pythonFloat, pythonJson } from '../../lib/config/python-json.js'

test('floats look like Python repr', (t) => {
  const cases: [number, string][] = [
    [1, '1.0'],
    [0, '0.0'],
    [-0, '-0.0'],
    [0.0001, '0.0001'],
    [0.00001, '1e-05'],
    [1.5e-7, '1.5e-07'],
    [123456.789, '123456.789'],
    [1e15, '1000000000000000.0'],
    [1e16, '1e+16'],
    [1.25e22, '1.25e+22'],
    [0.1 + 0.2, '0.30000000000000004'],
    [-2.5, '-2.5']
  ]
  for (const [value, text] of cases) t.is(pythonFloat(value), text)
})

test('keys are sorted by code point and text is ASCII', (t) => {
  t.is(
    pythonJson({ b: 1, a: [true, null], Z: 'é"\n\u007f' }),
    '{"Z": "\\u00e9\\"\\n\\u007f", "a": [true, null], "b": 1}'
  )
  // U+1F600 is two units, the first of which sorts before U+FF00.
  t.is(pythonJson({ '\u{1f600}': 1, '\uff00': 2 }), '{"\\uff00": 2, "\\ud83d\\ude00": 1}')
})

test('indent and float keys', (t) => {
  const text = pythonJson({ scaling: 4, count: 4, none: {}, list: [] }, { indent: 2, floatKeys: new Set(['scaling']) })
  t.is(text, '{\n  "count": 4,\n  "list": [],\n  "none": {},\n  "scaling": 4.0\n}')
})
