import type { Progress } from '../tasks/progress.js'
import { jsonLine } from './output.js'

/** Work that is shown while it goes on: as lines of JSON on stdout, or for people on stderr. */
export async function withProgress<T>(json: boolean, work: (show: Progress['show']) => Promise<T>): Promise<T> {
  if (json) {
    return await work((event) => {
      if (event.type !== 'step') process.stdout.write(jsonLine(event))
    })
  }
  const { trainingProgress } = await import('../tasks/progress.js')
  const progress = trainingProgress()
  try {
    return await work((event) => progress.show(event))
  } finally {
    progress.stop()
  }
}
