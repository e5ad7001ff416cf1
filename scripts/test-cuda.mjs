// npm run test:cuda: the tests that compute, with every model on a CUDA device, against the same values of PyTorch.
//   node scripts/test-cuda.mjs [AVA ARGUMENTS…]
import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { requireCuda } from './lib/cuda.mjs'
import { root } from './lib/run.mjs'
import { main } from './lib/terminal.mjs'
import { setup } from './setup.mjs'

const folders = ['parity', 'model', 'training', 'tasks', 'exported', 'inference']

await main(async () => {
  await setup()
  requireCuda('cuda')
  const args = process.argv.slice(2)
  const files = folders.map((folder) => `dist/test/${folder}/*.test.js`)
  const ava = [
    join(root, 'node_modules/ava/entrypoints/cli.mjs'),
    `--concurrency=${Math.max(1, Math.min(12, availableParallelism() - 2))}`,
    ...(args.length > 0 ? args : files)
  ]
  // One thread a file for what stays on the CPU.
  const env = { ...process.env, TORCH_ADAPTERS_DEVICE: 'cuda', OMP_NUM_THREADS: '1' }
  return spawnSync(process.execPath, ava, { cwd: root, env, stdio: 'inherit' }).status ?? 1
})
