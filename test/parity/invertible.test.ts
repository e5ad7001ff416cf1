import test from 'ava'
import { checkTogether } from './support/together.js'

// GLOW's values are those of its authors' formula, written out by hand: the library cannot run it.
test('NICE and GLOW give the values of the formulas, forward and gradients', (t) => checkTogether(t, 'invertible'))
