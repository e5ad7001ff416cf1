// The models of the benchmark, written once by Python below .setup/bench.
import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { root, run } from '../lib/run.mjs'
import { hashOf } from '../lib/stamp.mjs'
import { step } from '../lib/terminal.mjs'
import { python, pythonEnv } from '../python-env.mjs'
import { models } from './rows.mjs'

const script = fileURLToPath(new URL('peer_models.py', import.meta.url))

/** { model, adapter }: folders that both sides read. `method`: the adapter's, 'adapter' (a bottleneck) or the name of a preset. */
export async function modelFolders(name, method = 'adapter') {
  const spec = models[name]
  const folder = join(root, '.setup', 'bench', `${name}-${hashOf(['scripts/bench/peer_models.py'], spec).slice(0, 12)}`)
  if (!existsSync(folder)) {
    const command = await python()
    await step(`model ${name}`, async () => {
      const unfinished = `${folder}.new`
      rmSync(unfinished, { recursive: true, force: true })
      await run(command, [script, unfinished, JSON.stringify(spec)], { log: 'bench-model', env: pythonEnv })
      renameSync(unfinished, folder)
      return 'written'
    })
  }
  return { model: join(folder, 'model'), adapter: join(folder, method) }
}
