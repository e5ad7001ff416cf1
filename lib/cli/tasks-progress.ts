import type { TasksEvent } from '../tasks/events.js'
import { describeEvent } from '../training/progress.js'
import { jsonLine } from './output.js'

/** Shows what happens where several train side by side, each event under its task's name. */
export function showEvent(event: TasksEvent, json: boolean): void {
  if (event.type === 'step') return
  if (json) process.stdout.write(jsonLine(event))
  else if (event.type === 'taskEnd')
    process.stderr.write(`${event.task} ended at step ${event.step}: ${event.reason}\n`)
  else if (event.type !== 'end') {
    const task = 'task' in event && event.task !== undefined ? `${event.task}: ` : ''
    process.stderr.write(`${task}${describeEvent(event)}\n`)
  }
}
