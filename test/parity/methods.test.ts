import test from 'ava'
import { checkTogether } from './support/together.js'

for (const [group, what] of [
  ['prefix', 'prefix tuning'],
  ['prompt', 'prompt tuning'],
  ['reft', 'ReFT'],
  ['unions', 'unions, MAM and UniPELT']
] as const) {
  test(`${what}: the values of the formulas, forward and gradients`, (t) => checkTogether(t, group))
}

test('images: every place of adapters, as PyTorch', (t) => checkTogether(t, 'vit'))
