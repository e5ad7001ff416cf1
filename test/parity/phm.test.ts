import test from 'ava'
import { checkTogether } from './support/together.js'

test('PHM layers give the values of the formulas, forward and gradients', (t) => checkTogether(t, 'phm'))
