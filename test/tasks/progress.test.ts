import { Writable } from 'node:stream'
import test from 'ava'
import { MultiTaskTrainer } from '../../lib/index.js'
import { describeEvent } from '../../lib/tasks/event-lines.js'
import { formatTime, trainingProgress } from '../../lib/tasks/progress.js'
import type { TrainingEvent } from '../../lib/training/events.js'
import { load, quiet, tinyRows } from '../model/support.js'

class Terminal extends Writable {
  text = ''
  readonly columns = 120
  constructor(readonly isTTY: boolean) {
    super()
  }
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString()
    done()
  }
}

const step = (n: number): TrainingEvent => {
  return {
    type: 'step',
    step: n,
    totalSteps: 4,
    epoch: n / 4,
    loss: 1 / n,
    learningRate: 0.001,
    gradNorm: 0.5,
    tokens: 32,
    rows: 4
  }
}

const events: TrainingEvent[] = [
  step(1),
  { ...step(2), type: 'log', tokensPerSecond: 12345.6, rowsPerSecond: 98.76 } as TrainingEvent,
  {
    type: 'evaluate',
    step: 2,
    epoch: 0.5,
    loss: 0.25,
    metrics: { accuracy: 0.5, macroF1: 1 / 3 },
    rows: 8,
    seconds: 1
  },
  { type: 'save', step: 2, epoch: 0.5, folder: 'out/checkpoint-2' },
  step(4),
  { type: 'end', step: 4, steps: 4, epoch: 1, loss: 0.521, tokens: 128, seconds: 1.234 }
]

test('without a terminal: a line for each event, none for a step', (t) => {
  const stream = new Terminal(false)
  const progress = trainingProgress({ stream })
  for (const event of events) progress.show(event)
  progress.stop()
  t.is(
    stream.text,
    [
      'step 2/4, epoch 0.50: loss 0.5000, lr 0.001, gradient 0.5, 12,346 tokens/s, 98.8 rows/s',
      'step 2, epoch 0.50: evaluation loss 0.2500, accuracy 0.5000, macroF1 0.3333',
      'step 2: saved out/checkpoint-2',
      '4 steps in 1.2 s, mean loss 0.5210',
      ''
    ].join('\n')
  )
})

test('in a terminal: one line that moves, with what happens above it', async (t) => {
  const stream = new Terminal(true)
  const progress = trainingProgress({ stream })
  for (const event of events) {
    progress.show(event)
    await new Promise((resolve) => setTimeout(resolve, 120))
  }
  progress.stop()
  t.regex(stream.text, /25% \| step 1\/4 \| epoch 0\.25 \| loss 1\.0000 \| lr 0\.001/)
  t.regex(stream.text, /lr 0\.001 \| - tokens\/s/)
  t.regex(stream.text, /100% \| step 4\/4/)
  t.regex(stream.text, /evaluation loss 0\.2500/)
  t.regex(stream.text, /saved out\/checkpoint-2/)
  // The cursor is hidden while the line moves, and must come back.
  t.true(stream.text.lastIndexOf('\u001b[?25h') > stream.text.lastIndexOf('\u001b[?25l'))
})

test('in a terminal: tokens and rows a second of the newest steps, without what comes between', async (t) => {
  const stream = new Terminal(true)
  const progress = trainingProgress({ stream })
  for (const event of [step(1), step(2), events[2] as TrainingEvent, step(3)]) {
    progress.show(event)
    await new Promise((resolve) => setTimeout(resolve, 120))
  }
  progress.stop()
  const rates = [...stream.text.matchAll(/ ([\d.]+) tokens\/s, ([\d.]+) rows\/s/g)]
  t.true(rates.length > 0)
  // Steps of 32 tokens and 4 rows.
  for (const [, tokens, rows] of rates) t.true(Math.abs(Number(tokens) - 8 * Number(rows)) < 1, `${tokens} ${rows}`)
  t.regex(stream.text, /step 3\/4 .*- tokens\/s/)
})

test('stopping before anything happened, and twice', (t) => {
  for (const isTTY of [true, false]) {
    const progress = trainingProgress({ stream: new Terminal(isTTY) })
    t.notThrows(() => progress.stop())
    t.notThrows(() => progress.stop())
  }
})

test('a run that had nothing left to do says so, in a terminal too', (t) => {
  for (const isTTY of [true, false]) {
    const stream = new Terminal(isTTY)
    const progress = trainingProgress({ stream })
    progress.show({ type: 'end', step: 4, steps: 0, epoch: 1, loss: Number.NaN, tokens: 0, seconds: 0 })
    progress.stop()
    t.regex(stream.text, /complete at step 4: nothing was left to train/)
  }
  t.regex(
    String(describeEvent({ type: 'end', step: 4, steps: 1, epoch: 1, loss: 0.5, tokens: 9, seconds: 1 })),
    /^1 step \(4 with those before\) in 1\.0 s/
  )
})

test('a step has no line of its own', (t) => {
  t.is(describeEvent(step(1)), undefined)
})

test('several tasks: what belongs to one stands under its name, in a terminal above the line of all', async (t) => {
  for (const isTTY of [false, true]) {
    const model = await load(t)
    for (const name of ['one', 'two']) {
      model.addAdapter(name, 'seq_bn')
      model.addClassificationHead(name, { numLabels: 3 })
    }
    const dataset = tinyRows(4)
    const trainer = new MultiTaskTrainer({
      model,
      tasks: { one: { dataset, evalDataset: dataset }, two: { dataset } },
      args: { ...quiet, maxSteps: 2, loggingStrategy: 'steps', loggingSteps: 2, evalStrategy: 'steps', evalSteps: 2 }
    })
    const stream = new Terminal(isTTY)
    const progress = trainingProgress({ stream })
    for await (const event of trainer.run()) {
      progress.show(event)
      await new Promise((resolve) => setTimeout(resolve, 120))
    }
    progress.show({ type: 'taskEnd', task: 'one', step: 2, reason: 'earlyStopping' })
    progress.stop()
    for (const name of ['one', 'two']) {
      t.regex(stream.text, new RegExp(`${name}: step 2/2, epoch .*: loss .*, lr .*, gradient .* tokens/s, .* rows/s`))
    }
    t.regex(stream.text, /one: step 2, epoch .*: evaluation loss .*, accuracy/)
    t.regex(stream.text, /2 steps in \d+\.\d s, mean loss one \d\.\d{4}, two \d\.\d{4}/)
    t.regex(
      stream.text,
      isTTY ? /step 2\/2 \| epoch .* \| loss [\d.]+ \| [\d.,]+ tokens\/s, [\d.]+ rows\/s/ : /^one: step/
    )
    if (!isTTY) t.regex(stream.text, /one ended at step 2: earlyStopping/)
  }
})

test('what is no stream is refused', (t) => {
  for (const options of [null, 5]) t.throws(() => trainingProgress(options as never), { message: /^options: expected/ })
  for (const stream of [null, 5, {}]) {
    t.throws(() => trainingProgress({ stream } as never), { message: /^stream: expected a stream to write to/ })
  }
})

test('what is left is told in seconds, minutes or hours', (t) => {
  const told = [0, 7.4, 12, 58, 118, 125, 3599, 5400].map((seconds) => formatTime(seconds))
  t.deepEqual(told, ['0s', '7s', '10s', '1m00s', '2m00s', '2m05s', '1h00m', '1h30m'])
  t.is(formatTime('INF' as never), '?')
})
