import type { MemoryPlan } from '../training/memory-plan.js'
import { jsonLine } from './output.js'

/** --plan: what memory a training will take; nothing is trained or written. */
export async function printPlan(trainer: { plan(): Promise<MemoryPlan> }, json: boolean): Promise<void> {
  const { describePlan } = await import('../training/memory-plan.js')
  const plan = await trainer.plan()
  process.stdout.write(json ? jsonLine({ type: 'plan', ...plan }) : `${describePlan(plan)}\n`)
}
