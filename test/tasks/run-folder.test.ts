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
  const all = { ...tasks, topic: { ...tasks.topic, evalDataset: tinyRows(6), weight: 0.5 } }
  const trainer = new MultiTaskTrainer({
    model,
    tasks: all,
    mode: 'alternate',
    sampler: { temperature: 5 },
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
  const { learningRate, classWeights } = tasks.topic.args
  t.deepEqual(history.start?.tasks?.own['topic'], { learningRate, classWeights, weight: 0.5 })
  t.deepEqual([history.start?.tasks?.mode, history.start?.tasks?.sampler], ['alternate', { temperature: 5 }])
  t.is(history.start?.totalSteps, history.steps.at(-1)?.totalSteps)
  t.deepEqual(history.start?.rows, { train: 45, evaluation: 6 })
  t.is(Object.keys(history.start?.model['adapters'] as object).length, 3)
  const page = readFileSync(join(outputDir, 'report.html'), 'utf8')
  t.regex(page, /<p>finished: step \d+ of \d+, epoch 2\.00, 3 tasks, [\d,]+ tokens\/s, [\d,.]+ rows\/s/)
  t.regex(page, /<h2>Tasks<\/h2>[\s\S]*<th>lrSchedulerType<\/th>[\s\S]*<td>cosine<\/td>/)
  t.regex(page, /<td>mode<\/td><td>alternate<\/td>/)
  t.regex(page, /<td>sampler<\/td><td>{&quot;temperature&quot;:5}<\/td>/)
  const loss = /<title>Loss<\/title>[\s\S]*?<\/svg>/.exec(page)?.[0] ?? ''
  t.is(loss.match(/<polyline/g)?.length, 4)
  for (const name of [...names, 'topic, evaluation']) t.true(loss.includes(`>${name}</text>`), name)
})

test('so does that of a sweep, of each of its adapters', async (t) => {
  const outputDir = scratch(t)
  const model = await load(t)
  model.addClassificationHead('yesno', { numLabels: 2 })
  const grid = { learningRate: [1e-2, 1e-3], config: ['seq_bn', 'lora[r=4]'] }
  await trainSweep(model, tinyRows(12), grid, { args: { ...args, outputDir, reportTo: 'html' } })
  const { start, steps, status } = historyIn(outputDir)
  t.is(status, 'finished')
  t.deepEqual([...new Set(steps.map(({ task }) => task))], ['sweep-1', 'sweep-2', 'sweep-3', 'sweep-4'])
  t.deepEqual(start?.members?.['sweep-2'], { learningRate: 1e-2, config: 'lora[r=4]' })
  const page = readFileSync(join(outputDir, 'report.html'), 'utf8')
  t.regex(page, /<p>finished: .*, 4 members, /)
  t.regex(page, /<tr><th>member<\/th><th>learningRate<\/th><th>config<\/th><\/tr>/)
  t.true(page.includes('<tr><td>sweep-3</td><td>0.001</td><td>seq_bn</td></tr>'))
  // No member has the rate of all.
  t.notRegex(page, /<td>learningRate<\/td>/)
})
