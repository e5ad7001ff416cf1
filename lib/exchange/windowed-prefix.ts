import type { ModelConfig } from '../config/model-config.js'

/** Every token sees a prefix here; PEFT's moves out of the window of a network whose layers attend to the last tokens alone. */
export function warnOfWindow(operation: string, prefixLength: number, { exported }: ModelConfig): void {
  const window = exported?.slidingWindow ?? null
  if (exported === null || window === null) return
  const whole = Math.max(0, window - prefixLength)
  process.emitWarning(
    `${operation}: ${exported.className} attends to windows of ${window} tokens, of which PEFT counts the ${prefixLength} of ` +
      `a prefix as some; here every token sees the prefix. Rows of more than ${whole} tokens give other answers than in PEFT.`,
    { code: 'TORCH_ADAPTERS_PREFIX_WINDOW' }
  )
}
