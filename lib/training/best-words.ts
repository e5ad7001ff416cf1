import type { EndEvent } from './events.js'

/** `best accuracy 0.9100 at step 40`, and what the model is where it is another; undefined where nothing was compared. */
export function describeBest(
  { best, isBest }: Pick<EndEvent, 'best' | 'isBest'>,
  number: (value: number) => string = (value) => value.toFixed(4)
): string | undefined {
  if (best === undefined) return undefined
  const kept = isBest === false ? ' (not kept: the last step is)' : ''
  return `best ${best.metric} ${number(best.value)} at step ${best.step}${kept}`
}
