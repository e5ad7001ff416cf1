import * as check from '../config/check.js'
import { loadAddon } from '../native/addon.js'
import { nativeCall } from '../native/errors.js'

/** Far more than any machine has processors; a run-time that cannot start its threads ends the process. */
const mostThreads = 1024

/**
 * Threads for libtorch's work in this process. Default: what OMP_NUM_THREADS says, else one a core. Results repeat bit
 * for bit only where the number is the same.
 */
export function setNumThreads(count: number): void {
  check.checkInteger('threads', count, 1, mostThreads)
  nativeCall(() => loadAddon().setNumThreads(count))
}
