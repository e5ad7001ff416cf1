import test from 'ava'
import { lineChart, scale } from '../../lib/training/chart.js'
import { CurveRecorder, learningCurves, reportHtml } from '../../lib/training/report.js'

test('scales end on round numbers and hold every value', (t) => {
  t.deepEqual(scale([0, 100]).ticks, [0, 20, 40, 60, 80, 100])
  const { from, to, ticks } = scale([0.31, 0.768])
  t.true(from <= 0.31 && to >= 0.768)
  t.deepEqual(
    ticks.map((tick) => tick.toFixed(1)),
    ['0.3', '0.4', '0.5', '0.6', '0.7', '0.8']
  )
  t.true(scale([5]).from < 5 && scale([5]).to > 5)
  t.deepEqual(scale([]).ticks, [0, 0.5, 1])
  t.true(scale([1e-7, 3e-7]).ticks.length >= 3)
})

const points = (svg: string) => [...svg.matchAll(/<polyline points="([^"]*)"/g)].map((match) => match[1] ?? '')

test('a chart draws each series from left to right inside its frame', (t) => {
  const svg = lineChart({
    title: 'Loss <now>',
    xLabel: 'step',
    yLabel: 'loss',
    series: [
      {
        name: 'a & b',
        colour: '#000',
        points: [
          [0, 1],
          [10, 0.5],
          [20, Number.NaN],
          [30, 0.25]
        ]
      },
      { name: 'single', colour: '#111', points: [[30, 1]] }
    ]
  })
  const [first = '', second = ''] = points(svg)
  const places = first.split(' ').map((pair) => pair.split(',').map(Number) as [number, number])
  t.is(places.length, 3)
  // The first value is the highest, the last one farthest right and the lowest.
  t.deepEqual(places[0], [58, 58])
  t.deepEqual(
    places.map(([x]) => x),
    places.map(([x]) => x).sort((a, b) => a - b)
  )
  t.deepEqual(
    places.map(([, y]) => y),
    places.map(([, y]) => y).sort((a, b) => a - b)
  )
  t.true(places.every(([x, y]) => x >= 58 && x <= 612 && y >= 58 && y <= 334))
  t.is(second.split(' ').length, 1)
  t.regex(svg, /Loss &lt;now&gt;/)
  t.regex(svg, /a &amp; b/)
  t.notRegex(svg, /NaN|Infinity|undefined/)
})

test('numbers of a loss that diverges are short on their axis, and each its own', (t) => {
  for (const [high, expected] of [
    [5e7, ['0', '1e7', '2e7', '3e7', '4e7', '5e7']],
    [3e20, ['0', '1e20', '2e20', '3e20']],
    [4_000_000, ['0', '1,000,000', '4,000,000']]
  ] as const) {
    const points: [number, number][] = [
      [0, 0],
      [1, high]
    ]
    const svg = lineChart({ title: 't', xLabel: 'x', yLabel: 'y', series: [{ name: 'a', colour: '#000', points }] })
    const labels = [...svg.matchAll(/text-anchor="end"[^>]*>([^<]*)</g)].map((match) => match[1] ?? '')
    for (const label of expected) t.true(labels.includes(label), `${label} in ${labels}`)
    t.is(new Set(labels).size, labels.length)
  }
})

const run = (name: string) => {
  const recorder = new CurveRecorder(name)
  const common = { totalSteps: 20, epoch: 1, learningRate: 1, gradNorm: 1 }
  recorder.record({ type: 'step', step: 10, loss: 2, tokens: 1, rows: 1, ...common })
  recorder.record({ type: 'log', step: 10, loss: 3, tokensPerSecond: 1, rowsPerSecond: 1, ...common })
  recorder.record({ type: 'evaluate', step: 10, epoch: 1, loss: 1.5, metrics: { accuracy: 0.5 }, rows: 1, seconds: 1 })
  recorder.record({ type: 'step', step: 20, loss: 1, tokens: 1, rows: 1, ...common })
  recorder.record({ type: 'save', step: 20, epoch: 1, folder: 'x' })
  return recorder.curves
}

test('a run is recorded from its events', (t) => {
  t.deepEqual(run('adapter'), {
    name: 'adapter',
    losses: [
      { step: 10, loss: 2 },
      { step: 20, loss: 1 }
    ],
    evaluations: [{ step: 10, loss: 1.5, accuracy: 0.5 }]
  })
})

test('a short run has a point for every step, a long one a hundred means', (t) => {
  const losses = (steps: number) => {
    const recorder = new CurveRecorder('x')
    const common = { totalSteps: steps, epoch: 1, learningRate: 1, gradNorm: 1, tokens: 1, rows: 1 }
    for (let step = 1; step <= steps; step++) recorder.record({ type: 'step', step, loss: step, ...common })
    return recorder.curves.losses
  }
  t.is(losses(7).length, 7)
  t.deepEqual(losses(0), [])
  const long = losses(1000)
  t.is(long.length, 100)
  t.deepEqual(long[0], { step: 10, loss: 5.5 })
  t.deepEqual(long.at(-1), { step: 1000, loss: 995.5 })
  t.deepEqual(losses(101).at(-1), { step: 101, loss: 101 })
})

test('one chart of losses, one of the metric where there is one', (t) => {
  const charts = learningCurves([run('adapter'), run('head')])
  t.is(charts.length, 2)
  t.is(points(charts[0] ?? '').length, 4)
  t.is(points(charts[1] ?? '').length, 2)
  t.is(learningCurves([{ ...run('x'), evaluations: [] }]).length, 1)
  t.deepEqual(learningCurves([{ name: 'x', losses: [], evaluations: [] }]), [])
  t.is(learningCurves([run('x')], 'macroF1').length, 1)
})

test('of many runs no two curves look alike', (t) => {
  for (const chart of learningCurves(Array.from({ length: 20 }, (_, i) => run(`sw-${i + 1}`)))) {
    const looks = [...chart.matchAll(/<polyline [^>]*? (stroke="[^"]*")[^>]*?( stroke-dasharray="[^"]*")?\/>/g)]
    const legends = [
      ...chart.matchAll(/<line class="series" [^>]*? (stroke="[^"]*")[^>]*?( stroke-dasharray="[^"]*")?\/>/g)
    ]
    t.true(looks.length >= 20)
    for (const all of [looks, legends]) t.is(new Set(all.map(([, ...own]) => own.join(''))).size, all.length)
  }
})

test('the page needs nothing but itself and runs nothing', (t) => {
  const table = { head: ['', 'accuracy'], rows: [['<b>adapter</b>', '0.78']] }
  const html = reportHtml({
    title: 'Curves',
    text: 'One "run".',
    runs: [run('</svg><script>alert(1)</script>')],
    table
  })
  t.notRegex(html, /<script|<link|<img|@import|url\(|src=|href=/)
  t.regex(html, /&lt;b&gt;adapter&lt;\/b&gt;/)
  t.regex(html, /One &quot;run&quot;\./)
  t.is(html.match(/<svg/g)?.length, 2)
  t.is(html.match(/<\/svg>/g)?.length, 2)
})

test('what is no report is refused by name', (t) => {
  const run = { name: 'a', losses: [], evaluations: [] }
  const wrong: [unknown, RegExp][] = [
    [null, /^options: expected an object, got null/],
    ['x', /^options: expected an object, got 'x'/],
    [{}, /^title: expected a string/],
    [{ title: 'x' }, /^runs: expected an array/],
    [{ title: 'x', runs: [5] }, /^runs\[0\]: expected an object/],
    [{ title: 'x', runs: [{ ...run, losses: 5 }] }, /^runs\[0\]\.losses: expected an array/],
    [{ title: 'x', runs: [run], metrics: 'f1' }, /metrics.*metric/]
  ]
  for (const [options, message] of wrong) t.throws(() => reportHtml(options as never), { message })
  t.throws(() => new CurveRecorder(5 as never), { message: /^name: expected a string, got 5/ })
})
