import type { EndEvent } from './events.js'

/**
 * `best accuracy 0.9100 at step 40`, and what the model is where it is another; undefined where nothing was compared.
 * @param among whose steps they are, where that is to be said
 * @param kept what the model is, where it is not its best
 */
export function describeBest(
  { best, isBest }: Pick<EndEvent, 'best' | 'isBest'>,
  number: (value: number) => string = (value) => value.toFixed(4),
  { among = '', kept = 'the last step' } = {}
): string | undefined {
  if (best === undefined) return undefined
  const other = isBest === false ? ` (not kept: ${kept} is)` : ''
  return `best ${best.metric} ${number(best.value)} at step ${best.step}${among}${other}`
}
