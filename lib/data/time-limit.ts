import { type Context, createContext, Script } from 'node:vm'

const script = new Script('work()')
let context: Context | undefined

/** Of the time that it may take: the clocks of processors go in steps, and a little goes to others on any machine. */
const nearlyAll = 0.8

/** Where other work keeps the processor, the same work is given so many times the time of a clock on the wall. */
const mostPatience = 32

/**
 * What the work gives. Once it has taken so many milliseconds of processor time V8 ends it wherever it is, in the middle of a
 * regular expression too, and an error with the code `ERR_SCRIPT_EXECUTION_TIMEOUT` is thrown. Costs some 50 µs.
 *
 * V8 itself goes by the clock on the wall. Work that it ended and that had less of a processor, on a machine that is busy or was
 * asleep, begins anew with more time, so it must be such as can be done again.
 * @param processorTime milliseconds that this thread has had so far
 */
export function withinTime<T>(milliseconds: number, work: () => T, processorTime = ownProcessorTime): T {
  for (let patience = 1; ; patience *= 2) {
    const before = processorTime()
    try {
      return run(milliseconds * patience, work)
    } catch (error) {
      const isEnded = (error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
      const hadAll = processorTime() - before >= milliseconds * nearlyAll
      if (!isEnded || hadAll || patience >= mostPatience) throw error
    }
  }
}

function run<T>(milliseconds: number, work: () => T): T {
  context ??= createContext({})
  context['work'] = work
  try {
    return script.runInContext(context, { timeout: Math.ceil(milliseconds) }) as T
  } finally {
    context['work'] = undefined
  }
}

interface OfThread {
  threadCpuUsage(): NodeJS.CpuUsage
}

/** From Node 22.19 on the thread's own; before, that of all threads of the process, which is never less. */
function ownProcessorTime(): number {
  const { user, system } = (process as Partial<OfThread>).threadCpuUsage?.() ?? process.cpuUsage()
  return (user + system) / 1000
}
