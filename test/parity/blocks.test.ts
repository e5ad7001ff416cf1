import test from 'ava'
import { BlockCells } from './support/blocks.js'
import { cellFamilies } from './support/cells.js'
import { Worst } from './support/worst.js'

for (const family of cellFamilies) {
  test(`every block of two adapters of one method has PyTorch's values, or each row those of its adapter alone: ${family}`, async (t) => {
    const worst = new Worst()
    await new BlockCells(family).checkAll(worst)
    worst.report(t)
  })
}
