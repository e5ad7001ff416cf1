import test from 'ava'
import { checkTogether } from './support/together.js'

test('LoRA and its kin give the values of the formulas, forward and gradients', (t) => checkTogether(t, 'lora'))
