import { readFileSync } from 'node:fs'

/**
 * Signals that end work in good order: Ctrl-C, a request to end, and a terminal that closes, unless whoever began this
 * process had it go on then, as nohup does: to listen would undo that.
 */
export function interruptions(): readonly NodeJS.Signals[] {
  return hangUpIsIgnored ? ['SIGINT', 'SIGTERM'] : ['SIGINT', 'SIGTERM', 'SIGHUP']
}

/** Seen once, at the start: who listens is told of the signal from then on. */
const hangUpIsIgnored = ignoresHangUp()

function ignoresHangUp(): boolean {
  try {
    const [, mask = '0'] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
    return (BigInt(`0x${mask}`) & 1n) === 1n
  } catch {
    // Elsewhere nohup shows by where it sends the output.
    return process.stdout.isTTY !== true && process.stderr.isTTY !== true
  }
}
