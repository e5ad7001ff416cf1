import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { repository } from '../native/support.js'
import { pageOf } from './pages.js'

/** docs/python-defects.md's table of what is wrong in Python's adapters: a test for each, by its file and words of its title. */
const proofs: readonly (readonly [file: string, title: string])[] = [
  ['parity/blocks', 'every block of two adapters of one method'],
  ['parity/blocks', 'every block of two adapters of one method'],
  ['model/row-adapters', 'forward: each row as if it were alone with its adapter'],
  ['parity/blocks', 'every block of two adapters of one method'],
  ['model/head-rule', 'each head reads its own rows alone (the peer’s defects D4, D5 and D8)'],
  ['parity/blocks', 'every block of two adapters of one method'],
  ['parity/compositions', 'compositions give the values of the formulas'],
  ['model/head-rule', 'under blocks each row has its own head in forward as in predict'],
  ['model/head-rule', 'under blocks each row has its own head in forward as in predict'],
  ['model/peer-defects', 'a tagging head under BatchSplit takes labels and a mask'],
  ['model/lora', 'mergeAdapter gives the same answers, resetAdapter every bit'],
  ['model/average', 'weights by name are the weights'],
  ['model/prompt', 'folders in every format'],
  ['model/strict-loading', 'however many there are, each is listed'],
  ['model/peer-defects', 'a folder holds what has its name'],
  ['model/exchange', 'comes back bit for bit, under its name and another'],
  ['config/lora-config', 'VeRA counts two vectors a place'],
  ['parity/lora', 'LoRA and its kin give the values of the formulas'],
  ['parity/cases', 'as PyTorch'],
  ['config/adapter-config', 'scaling takes an integer'],
  ['model/phm', 'a start that adds nothing adds nothing'],
  ['parity/invertible', 'NICE and GLOW give the values of the formulas'],
  ['model/peer-defects', 'in a Llama the inner LoRA stands where feed-forward begins'],
  ['exported/adapters', 'twenty steps of adapters at the sites that were found'],
  ['model/peer-defects', "a fusion's dropout of 0 is 0"],
  ['training/fusion', 'regularisation is a part of the step that it belongs to'],
  ['training/fusion', 'the temperature falls by 0.05 a step of training'],
  ['model/adapters', 'what stays active of a setup without the adapter that is deleted'],
  ['parity/lora', 'LoRA and its kin give the values of the formulas'],
  ['parity/blocks', 'every block of two adapters of one method'],
  ['core/fused', 'bottlenecks_of_one_form_in_one_node_are_the_modules'],
  ['model/reft', 'every kind goes through a folder and back, a DiReFT as one'],
  ['model/fusion-attentions', 'attentions in mixed batches'],
  ['parity/nested', 'a Stack inside a BatchSplit inside a Stack'],
  ['parity/methods', 'the values of the formulas, forward and gradients'],
  ['model/prompt', 'padding changes nothing under a prompt'],
  ['exported/library-differs', 'a bottleneck for Python is written with a warning, and one of Python is refused'],
  ['exported/forward', "hidden states are PyTorch's, whatever the rows' lengths"],
  ['model/reft', 'a row shorter than suffixPositions is all of the last tokens'],
  ['model/lora-average', 'whatever the weights, the frozen value counts once'],
  ['model/lora-average', 'whatever the weights, the frozen value counts once'],
  ['config/composition', 'weights that were not normalized say so'],
  ['model/compositions', 'below Parallel in a Stack each row of every copy keeps its part of the batch'],
  ['model/setup-heads', 'heads of a BatchSplit in another'],
  ['parity/cells', "every method alone, in a Stack and row by row has PyTorch's values"],
  ['model/reft', 'beside a prompt the last tokens are the row’s'],
  ['model/average', 'the mean of the changes counts as they do'],
  ['model/average', 'invertible parts have a mean'],
  ['model/phm', 'learn_phm holds the rule still'],
  ['exchange/library-differs', 'a whole model with a Compacter is written with one warning, and comes back'],
  ['parity/methods', 'the values of the formulas, forward and gradients'],
  ['model/adapter-drop', 'a skipped layer is one that was left out'],
  ['parity/invertible', 'NICE and GLOW give the values of the formulas'],
  ['training/trainer', 'four batches accumulated are one batch of four times the rows']
]

test('docs/python-defects.md names a test for each defect of Python’s adapters, and the test is there', (t) => {
  const rows = pageOf('docs/python-defects.md')
    .text.split('\n')
    .filter((line) => /^\| D\d+ \|/.test(line))
  t.is(rows.length, proofs.length)
  for (const [i, row] of rows.entries()) {
    const [, number, , , named] = row.split('|').map((cell) => cell.trim())
    const [name, title] = proofs[i] ?? ['', '']
    t.is(number, `D${i + 1}`)
    t.is(named, `\`${name}\``, row)
    const file = ['.test.ts', '_test.cc'].map((ending) => join(repository, `test/${name}${ending}`)).find(existsSync)
    t.true(file !== undefined && readFileSync(file, 'utf8').includes(title), `${name}: ${title}`)
  }
})
