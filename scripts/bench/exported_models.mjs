// What the row `exported` measures: the model of another row as an archive of torch.export, and an adapter whose head
// reads every token, so that all sides compute the same ones.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { root, run } from '../lib/run.mjs'
import { filesBelow, hashOf } from '../lib/stamp.mjs'
import { step } from '../lib/terminal.mjs'
import { python, pythonEnv } from '../python-env.mjs'
import { modelFolders } from './models.mjs'
import { models } from './rows.mjs'

const here = (file) => fileURLToPath(new URL(file, import.meta.url))
const sources = () => [
  ...['scripts/bench/peer_models.py', 'scripts/bench/exported_models.py'],
  ...filesBelow(['scripts/export'], (file) => file.endsWith('.py'))
]

/** { model, archive, adapter }: Hugging Face's folder, the archive made of it, and the adapter that stands in both. */
export async function exportedFolders(name) {
  const { model } = await modelFolders(name)
  const spec = models[name]
  const folder = join(root, '.setup', 'bench', `${name}-exported-${hashOf(sources(), spec).slice(0, 12)}`)
  if (!existsSync(folder)) {
    const command = await python()
    await step(`archive ${name}`, async () => {
      const unfinished = `${folder}.new`
      rmSync(unfinished, { recursive: true, force: true })
      mkdirSync(unfinished, { recursive: true })
      const env = {
        ...pythonEnv,
        PYTHONPATH: [here('../export'), process.env.PYTHONPATH].filter(Boolean).join(delimiter)
      }
      const archive = ['-m', 'torch_adapters_export', model, join(unfinished, 'model.pt2'), '--tokenizer', 'none']
      await run(command, archive, { log: 'bench-export', env })
      const adapter = [here('exported_models.py'), model, join(unfinished, 'adapter'), String(spec.reduction_factor)]
      await run(command, adapter, { log: 'bench-export', env })
      renameSync(unfinished, folder)
      return 'written'
    })
  }
  return { model, archive: join(folder, 'model.pt2'), adapter: join(folder, 'adapter') }
}
