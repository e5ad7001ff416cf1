import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, delimiter, dirname, join } from 'node:path'

/**
 * Folders of a `torch` that the active Python would import, best first. Only file names are looked at: starting Python
 * costs 50–500 ms, and this runs whenever the addon loads.
 *
 * Order as in Python: an active virtual environment, conda, then the `python3` and `python` that stand first on PATH,
 * then the user's own site-packages.
 */
export function pythonTorchFolders(env: NodeJS.ProcessEnv = process.env): string[] {
  const prefixes = [env['VIRTUAL_ENV'], env['CONDA_PREFIX'], ...pathPrefixes(env)].filter(
    (prefix) => prefix !== undefined
  )
  const sites = prefixes.flatMap((prefix) => sitePackages(prefix))
  if (process.platform !== 'win32') sites.push(...versionedSites(join(homedir(), '.local', 'lib')))
  return [...new Set(sites.map((site) => join(site, 'torch')))].filter((folder) =>
    existsSync(join(folder, 'version.py'))
  )
}

function pathPrefixes(env: NodeJS.ProcessEnv): string[] {
  const names = process.platform === 'win32' ? ['python.exe'] : ['python3', 'python']
  const prefixes: string[] = []
  for (const name of names) {
    const folder = (env['PATH'] ?? '').split(delimiter).find((entry) => entry !== '' && existsSync(join(entry, name)))
    if (folder === undefined) continue
    if (basename(folder) === 'shims') prefixes.push(...pyenvPrefixes(dirname(folder), env))
    else prefixes.push(...interpreterPrefixes(join(folder, name)))
  }
  return prefixes
}

// A virtual environment's python is a link to the base interpreter, so the link's own place comes first.
function interpreterPrefixes(interpreter: string): string[] {
  const prefix = (file: string) => (process.platform === 'win32' ? dirname(file) : dirname(dirname(file)))
  try {
    return [prefix(interpreter), prefix(realpathSync(interpreter))]
  } catch {
    return [prefix(interpreter)]
  }
}

// pyenv puts shell scripts on PATH; the version they start is named by the environment, a file in the working folder
// or one of its parents, or the global file.
function pyenvPrefixes(pyenvRoot: string, env: NodeJS.ProcessEnv): string[] {
  const files: string[] = []
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    files.push(join(folder, '.python-version'))
    if (dirname(folder) === folder) break
  }
  files.push(join(pyenvRoot, 'version'))
  const named = env['PYENV_VERSION'] ?? files.map(readText).find((text) => text !== '')
  const versions = (named ?? '').split(/[\s:]+/).filter((version) => version !== '')
  return versions.map((version) => join(pyenvRoot, 'versions', version))
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}

function sitePackages(prefix: string): string[] {
  if (process.platform === 'win32')
    return [join(prefix, 'Lib', 'site-packages'), join(prefix, '..', 'Lib', 'site-packages')]
  const debian = join(prefix, 'lib', 'python3', 'dist-packages')
  return [...versionedSites(join(prefix, 'lib')), debian]
}

// lib/python3.11/site-packages; newest Python first.
function versionedSites(lib: string): string[] {
  let names: string[]
  try {
    names = readdirSync(lib).filter((name) => /^python3\.\d+$/.test(name))
  } catch {
    return []
  }
  names.sort((a, b) => Number(b.split('.')[1]) - Number(a.split('.')[1]))
  return names.flatMap((name) => [join(lib, name, 'site-packages'), join(lib, name, 'dist-packages')])
}
