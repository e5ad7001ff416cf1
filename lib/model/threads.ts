import * as check from '../config/check.js'
import { loadAddon } from '../native/addon.js'
import { nativeCall } from '../native/errors.js'

/**
 * Threads for libtorch's work in this process. Default: what OMP_NUM_THREADS says, else one a core. Results repeat bit
 * for bit only where the number is the same.
 */
export function setNumThreads(count: number): void {
  check.checkPositiveInteger('count', count)
  nativeCall(() => loadAddon().setNumThreads(count))
}
