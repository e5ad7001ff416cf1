#!/usr/bin/env node
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

// torch-adapters-export: finds a Python and hands everything to scripts/export, which has the options and their text.

const scripts = fileURLToPath(new URL('../../../scripts/export', import.meta.url))

/** What may be called Python here; the one that the user names goes first and alone. */
function candidates(env: NodeJS.ProcessEnv): readonly (readonly string[])[] {
  const named = env['TORCH_ADAPTERS_PYTHON']
  if (named) return [[named]]
  const active = env['VIRTUAL_ENV']
  if (process.platform === 'win32')
    return [...(active ? [[join(active, 'Scripts', 'python.exe')]] : []), ['py', '-3'], ['python']]
  return [...(active ? [[join(active, 'bin', 'python')]] : []), ['python3'], ['python']]
}

/** The first that runs and is recent enough. */
function findPython(env: NodeJS.ProcessEnv): readonly string[] | undefined {
  return candidates(env).find(([command, ...args]) => {
    const check = [...args, '-c', 'import sys; sys.exit(sys.version_info < (3, 10))']
    return spawnSync(command as string, check, { env, stdio: 'ignore', windowsHide: true }).status === 0
  })
}

/** What Python cannot check: whether the archive opens here. Undefined: it does, or there is no addon to try it with. */
async function whyRefused(archive: string): Promise<string | undefined> {
  try {
    const { AutoModel } = await import('../model/auto-model.js')
    const model = await AutoModel.fromExported(archive)
    model.dispose()
    return undefined
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    return ['ERR_UNSUPPORTED', 'ERR_INVALID_ARGUMENT', 'ERR_STATE_DICT'].includes(code ?? '') ? message : undefined
  }
}

const python = findPython(process.env)
if (python === undefined) {
  const tried = candidates(process.env)
    .map((command) => command.join(' '))
    .join(', ')
  process.stderr.write(
    `torch-adapters-export: no Python 3.10 or newer; looked for ${tried}.\n` +
      '  Exporting is the one step that needs Python with torch (2.9 or newer) and, for models of Hugging Face,\n' +
      '  transformers. Install them, or set TORCH_ADAPTERS_PYTHON to an interpreter that has them, or copy\n' +
      `  ${scripts}\n` +
      '  to a machine that has them and run there: python3 -m torch_adapters_export MODEL OUT.pt2\n'
  )
  process.exitCode = 1
} else {
  const [command, ...args] = python
  const path = [scripts, process.env['PYTHONPATH']].filter((entry) => entry).join(delimiter)
  const child = spawn(command as string, [...args, '-m', 'torch_adapters_export', ...process.argv.slice(2)], {
    // Python would leave its compiled files in the package's folder.
    env: { ...process.env, PYTHONPATH: path, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: 'inherit'
  })
  // The terminal sends an interrupt to both: Python ends by it, and this with it.
  process.on('SIGINT', () => {})
  child.on('error', (error) => {
    process.stderr.write(`torch-adapters-export: ${error.message}\n`)
    process.exitCode = 1
  })
  child.on('close', async (code) => {
    process.exitCode = code ?? 1
    const out = process.argv.slice(2).findLast((word) => word.endsWith('.pt2'))
    const refused = code === 0 && out !== undefined && existsSync(out) ? await whyRefused(out) : undefined
    if (refused === undefined) return
    process.stderr.write(`torch-adapters-export: ${out} is written, and fromExported refuses it: ${refused}\n`)
    process.exitCode = 1
  })
}
