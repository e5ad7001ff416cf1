import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { MultiTaskTrainer, trainSweep } from '../../lib/index.js'
import { RunHistory } from '../../lib/training/record/history.js'
import { load, scratch, tinyRows } from '../model/support.js'
import { args, names, tasks, withTasks } from './support.js'

const historyIn = (folder: string) => RunHistory.read(readFileSync(join(folder, 'events.jsonl'), 'utf8'))

test('a run folder keeps the curves of each task', async (t) => {
  const outputDir = scratch(t)
  const model = await withTasks(t)
  const losses: Record<string, number[]> = { topic: [], tags: [], length: [] }
  const all = { ...tasks, topic: { ...tasks.topic, evalDataset: tinyRows(6) } }
  const trainer = new MultiTaskTrainer({
    model,
    tasks: all,
    args: { ...args, outputDir, reportTo: ['html'], evalStrategy: 'epoch', evalOnStart: true }
  })
  for await (const event of trainer.run()) {
    if (event.type !== 'step') continue
    for (const [name, { loss }] of Object.entries(event.tasks)) losses[name]?.push(loss)
  }
  const history = historyIn(outputDir)
  t.is(history.status, 'finished')
  for (const name of names) {
    t.deepEqual(
      history.steps.filter(({ task }) => task === name).map(({ loss }) => loss),
      losses[name],
      name
    )
  }
  t.deepEqual(
    history.evaluations.map(({ task }) => task),
    ['topic', 'topic', 'topic']
  )
  t.is(history.start?.totalSteps, history.steps.at(-1)?.totalSteps)
  t.deepEqual(history.start?.rows, { train: 45, evaluation: 6 })
  t.is(Object.keys(history.start?.model['adapters'] as object).length, 3)
  const page = readFileSync(join(outputDir, 'report.html'), 'utf8')
  t.regex(page, /<p>finished: step \d+ of \d+, epoch 2\.00, 3 tasks, [\d,]+ tokens\/s, [\d,.]+ rows\/s/)
  const loss = /<title>Loss<\/title>[\s\S]*?<\/svg>/.exec(page)?.[0] ?? ''
  t.is(loss.match(/<polyline/g)?.length, 4)
  for (const name of [...names, 'topic, evaluation']) t.true(loss.includes(`>${name}</text>`), name)
})

test('so does that of a sweep, of each of its adapters', async (t) => {
  const outputDir = scratch(t)
  const model = await load(t)
  model.addClassificationHead('yesno', { numLabels: 2 })
  const grid = { learningRate: [1e-2, 1e-3] }
  await trainSweep(model, tinyRows(12), grid, { args: { ...args, outputDir, reportTo: 'jsonl' } })
  const { steps, status } = historyIn(outputDir)
  t.is(status, 'finished')
  t.deepEqual([...new Set(steps.map(({ task }) => task))], ['sweep-1', 'sweep-2'])
})
