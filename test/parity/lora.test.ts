import test from 'ava'
import { checkTogether } from './support/together.js'

test('LoRA and its kin give the values of the formulas, forward and gradients', (t) => checkTogether(t, 'lora'))

test('the same in GPT-2, whose query, key and value are one product', (t) => checkTogether(t, 'lora-gpt2'))
