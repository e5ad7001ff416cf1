/** A line chart as SVG text. No dependency, no script, no font from elsewhere: the picture is the file. A page may colour its classes anew. */

export interface Series {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
  /** Any CSS colour. */
  readonly colour: string
  /** How many others had its colour before: its line is broken in another way than theirs. Default 0. */
  readonly round?: number
  /** 'dots' mark each point, for what is measured now and then; 'dashes' do so on a broken line. Default 'line'. */
  readonly mark?: 'line' | 'dots' | 'dashes'
}

/** Told apart with every common kind of colour blindness (Okabe and Ito), the light ones last. */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#6f4e9b', '#e69f00', '#56b4e9']

/** A look for each of many series: where the colours are used up they come again on lines broken in another way. */
export const seriesStyle = (index: number): Pick<Series, 'colour' | 'round'> => ({
  colour: colours[index % colours.length] ?? '#0072b2',
  round: Math.floor(index / colours.length)
})

/** By the round of colours: of whole lines, which then are so no longer, and of broken ones. */
const dashes = { whole: ['', '1.5 3', '9 3 1.5 3'], broken: ['5 4', '14 4', '5 3 1.5 3'] }

function dashesOf({ mark, round = 0 }: Series): string {
  const known = dashes[mark === 'dashes' ? 'broken' : 'whole']
  const dash = known[round % known.length] ?? ''
  return dash === '' ? '' : ` stroke-dasharray="${dash}"`
}

export interface ChartOptions {
  readonly title: string
  readonly xLabel: string
  readonly yLabel: string
  readonly series: readonly Series[]
  /** Pixels. Default 640 × 380, and more for a long list of series. */
  readonly width?: number
  readonly height?: number
}

interface Frame {
  readonly left: number
  readonly right: number
  readonly top: number
  readonly bottom: number
}

interface Scale {
  readonly from: number
  readonly to: number
  readonly ticks: readonly number[]
}

export function lineChart(options: ChartOptions): string {
  const { title, series, width = 640 } = options
  const columns = series.length > 3 || series.some(({ name }) => name.length > 22) ? 2 : 3
  const rows = Math.ceil(series.length / columns)
  const height = options.height ?? 380 + 18 * Math.max(0, rows - 2)
  const points = series.flatMap((one) => one.points).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y))
  const x = scale(points.map(([value]) => value))
  const y = scale(points.map(([, value]) => value))
  const widest = y.ticks.reduce((most, tick) => Math.max(most, tickText(tick, y).length), 0)
  // Long numbers keep clear of the axis' name.
  const left = Math.max(58, 28 + 7 * widest)
  const frame = { left, right: width - 28, top: 40 + 18 * rows, bottom: height - 46 }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`,
    ' font-family="system-ui, sans-serif" font-size="12" role="img">',
    `<title>${escapeXml(title)}</title>`,
    `<rect class="back" width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text class="ink" x="${frame.left}" y="22" font-size="15" font-weight="600" fill="#1f2328">${escapeXml(title)}</text>`,
    ...series.map((one, i) => {
      const column = frame.left + (i % columns) * ((frame.right - frame.left) / columns)
      return legend(one, column, 44 + 18 * Math.floor(i / columns))
    }),
    ...axes(frame, x, y, options),
    ...series.map((one) => line(one, frame, x, y)),
    '</svg>'
  ].join('\n')
}

function axes(frame: Frame, x: Scale, y: Scale, { xLabel, yLabel }: ChartOptions): string[] {
  const across = y.ticks.map((tick) => {
    const at = round(place(tick, y, frame.bottom, frame.top))
    const grid = `<line class="grid" x1="${frame.left}" x2="${frame.right}" y1="${at}" y2="${at}" stroke="#e4e7eb"/>`
    return `${grid}<text class="soft" x="${frame.left - 8}" y="${at + 4}" text-anchor="end" fill="#57606a">${tickText(tick, y)}</text>`
  })
  const along = x.ticks.map((tick) => {
    const at = round(place(tick, x, frame.left, frame.right))
    const mark = `<line x1="${at}" x2="${at}" y1="${frame.bottom}" y2="${frame.bottom + 5}" stroke="#8c959f"/>`
    return `${mark}<text class="soft" x="${at}" y="${frame.bottom + 19}" text-anchor="middle" fill="#57606a">${tickText(tick, x)}</text>`
  })
  const middle = (frame.left + frame.right) / 2
  const centre = (frame.top + frame.bottom) / 2
  return [
    ...across,
    `<line x1="${frame.left}" x2="${frame.right}" y1="${frame.bottom}" y2="${frame.bottom}" stroke="#8c959f"/>`,
    ...along,
    `<text class="soft" x="${middle}" y="${frame.bottom + 38}" text-anchor="middle" fill="#57606a">${escapeXml(xLabel)}</text>`,
    `<text class="soft" transform="translate(14 ${centre}) rotate(-90)" text-anchor="middle" fill="#57606a">${escapeXml(yLabel)}</text>`
  ]
}

function line(series: Series, frame: Frame, x: Scale, y: Scale): string {
  const { points, colour, mark = 'line' } = series
  const places = points
    .filter(([px, py]) => Number.isFinite(px) && Number.isFinite(py))
    .map(([px, py]) => [round(place(px, x, frame.left, frame.right)), round(place(py, y, frame.bottom, frame.top))])
  const path = places.map(([px, py]) => `${px},${py}`).join(' ')
  const drawn = `<polyline points="${path}" fill="none" stroke="${escapeXml(colour)}" stroke-width="1.8" class="series"${dashesOf(series)}/>`
  const hasDots = mark !== 'line' || places.length === 1
  const dots = hasDots
    ? places.map(([px, py]) => `<circle class="series" cx="${px}" cy="${py}" r="3" fill="${escapeXml(colour)}"/>`)
    : []
  return drawn + dots.join('')
}

function legend(series: Series, x: number, y: number): string {
  const { name, colour } = series
  const sample = `<line class="series" x1="${x}" x2="${x + 22}" y1="${y - 4}" y2="${y - 4}" stroke="${escapeXml(colour)}" stroke-width="2.4"${dashesOf(series)}/>`
  return `${sample}<text class="ink" x="${x + 28}" y="${y}" fill="#1f2328">${escapeXml(name)}</text>`
}

/** From the smallest to the largest value, widened to round numbers. */
export function scale(values: readonly number[]): Scale {
  let low = values.reduce((least, value) => Math.min(least, value), Infinity)
  let high = values.reduce((most, value) => Math.max(most, value), -Infinity)
  if (!(low <= high)) return { from: 0, to: 1, ticks: [0, 0.5, 1] }
  if (low === high) {
    const margin = Math.abs(low) * 0.1 || 1
    low -= margin
    high += margin
  }
  const step = niceStep((high - low) / 5)
  const first = Math.floor(low / step + 1e-9)
  const last = Math.ceil(high / step - 1e-9)
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step)
  return { from: first * step, to: last * step, ticks }
}

/** 1, 2 or 5 times a power of ten, at least `step`. */
function niceStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step))
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= step * (1 - 1e-9)) ?? 10
  return factor * power
}

function place(value: number, { from, to }: Scale, start: number, end: number): number {
  return start + ((value - from) / (to - from)) * (end - start)
}

/** Larger numbers, as of a loss that diverges, are written with an exponent. */
const longestWritten = 1e7

function tickText(value: number, { ticks }: Scale): string {
  const step = (ticks[1] ?? 1) - (ticks[0] ?? 0)
  const size = ticks.reduce((most, tick) => Math.max(most, Math.abs(tick)), 0)
  if (size >= longestWritten) {
    const more = Math.floor(Math.log10(size)) - Math.floor(Math.log10(step) + 1e-9)
    return value === 0 ? '0' : value.toExponential(Math.max(0, Math.min(8, more))).replace('e+', 'e')
  }
  const digits = Math.max(0, Math.min(8, -Math.floor(Math.log10(step) + 1e-9)))
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

export function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;'
  }
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character)
}
