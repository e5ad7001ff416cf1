// Whether this machine has the CUDA device that a script wants.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './run.mjs'
import { Problem } from './terminal.mjs'

/** @param device 'cuda' for any, or one of them by its number */
export function requireCuda(device) {
  const doctor = spawnSync(process.execPath, [join(root, 'dist/lib/cli/main.js'), 'doctor', '--json'], { cwd: root })
  const { devices, cuda } = JSON.parse(String(doctor.stdout))
  if (devices.some((name) => name === device || (device === 'cuda' && name.startsWith('cuda')))) return
  throw new Problem(`There is no ${device} here: ${cuda ?? `there are ${devices.join(', ')}`}.`)
}
