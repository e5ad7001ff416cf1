import type { TasksEvent } from '../tasks/events.js'
import { describeEvent } from '../training/progress.js'
import { jsonLine } from './output.js'

/** Shows what happens where several train side by side, each event under its task's name. */
export function showEvent(event: TasksEvent, json: boolean): void {
  if (event.type === 'step') return
  if (json) process.stdout.write(jsonLine(event))
  else if (event.type === 'taskEnd') {
    const { task, step, reason } = event
    const what = reason === 'noRows' ? 'has no rows: the others go on' : `ended at step ${step}: ${reason}`
    process.stderr.write(`${task} ${what}\n`)
  } else if (event.type !== 'end') {
    const task = 'task' in event && event.task !== undefined ? `${event.task}: ` : ''
    process.stderr.write(`${task}${describeEvent(event)}\n`)
  }
}
