import test from 'ava'
import { Cells, cellFamilies } from './support/cells.js'
import { Worst } from './support/worst.js'

for (const family of cellFamilies) {
  test(`every method alone, in a Stack and row by row has PyTorch's values: ${family}`, async (t) => {
    const cells = new Cells(family)
    using model = await cells.open()
    const worst = new Worst()
    for (const one of cells.cells) {
      await cells.check(model, one, worst).catch((error) => worst.fail(`${one.name}: ${error}`))
    }
    worst.report(t)
    const byHand = new Set(cells.cells.flatMap(({ defect }) => defect ?? []))
    for (const defect of byHand) t.log(`by hand: ${defect}`)
  })
}
