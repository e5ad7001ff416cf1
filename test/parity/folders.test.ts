import { join } from 'node:path'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { checkForward } from './support/check-case.js'
import { type Case, fixtures, Group } from './support/fixtures.js'
import { Worst } from './support/worst.js'

const group = new Group<Case>('folders')

for (const one of group.cases) {
  test(`a folder that adapters wrote: ${one.folder}`, async (t) => {
    using model = await AutoModel.fromPretrained(join(fixtures, 'models', one.model))
    const name = await model.loadAdapter(join(fixtures, 'folders', one.folder ?? ''))
    t.is(name, one.adapter?.name ?? '')
    const answer = await model.forward({ ...one.input }, { adapters: name, outputHiddenStates: true })
    const worst = new Worst()
    checkForward(group, one, answer, worst)
    worst.report(t)
  })
}
