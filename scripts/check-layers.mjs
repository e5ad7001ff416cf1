// A file imports only from its own folder or from folders to the left of it. Fails on an import or include that points
// back, and names each.
//   node scripts/check-layers.mjs [ROOT]
import { readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { filesBelow } from './lib/stamp.mjs'
import { isMain } from './lib/terminal.mjs'

const layers = {
  'native/core': [
    'config',
    'nn',
    'state',
    'adapters',
    'models',
    'exported',
    'surgery',
    'training',
    'inference',
    'distributed'
  ],
  lib: ['native', 'config', 'data', 'exchange', 'model', 'training', 'tasks', 'inference', 'cli']
}

// Only native/binding knows Node: the core stays usable and testable without it.
const napiPattern = /^\s*#\s*include\s+[<"](napi|node_api|node)\.h[>"]/m

const includePattern = /^\s*#\s*include\s+"([^"]+)"/gm
const importPattern = /(?:\bfrom\s+|\bimport\s+|\bimport\(\s*)['"](\.[^'"]+)['"]/g

/** Sentences, one for each import that points back. */
export function checkLayers(root) {
  const problems = []
  for (const [base, order] of Object.entries(layers)) {
    for (const path of filesBelow([base], undefined, root)) {
      const file = join(root, path)
      const isCpp = /\.(h|cc|cpp)$/.test(file)
      if (!isCpp && !file.endsWith('.ts')) continue
      if (isCpp && napiPattern.test(readFileSync(file, 'utf8')))
        problems.push(`${relative(root, file)} includes Node's headers`)
      for (const target of targets(root, file, isCpp)) {
        const problem = judge(relative(root, file), relative(root, target), base, order)
        if (problem) problems.push(problem)
      }
    }
  }
  return problems
}

// Includes are written from native/, as "core/nn/linear.h"; imports are relative to their file.
function targets(root, file, isCpp) {
  const text = readFileSync(file, 'utf8')
  const written = [...text.matchAll(isCpp ? includePattern : importPattern)].map((match) => match[1])
  return written.map((path) => (isCpp ? join(root, 'native', path) : resolve(dirname(file), path)))
}

function judge(from, to, base, order) {
  const folderOf = (path) => path.slice(base.length + 1).split(sep)
  const [fromFolder, ...fromRest] = folderOf(from)
  const inside = to.startsWith(base.split('/').join(sep) + sep)
  if (!inside) {
    // The core stands on libtorch alone; lib stands on nothing of this repository.
    return `${from} imports ${to}, which is outside ${base}`
  }
  const [toFolder, ...toRest] = folderOf(to)
  if (toRest.length === 0) {
    // A file that stands directly in the base: error.h in the core, the index in lib, which nothing may import.
    return base === 'lib' && fromRest.length > 0 && !to.endsWith('package.json')
      ? `${from} imports ${to}: nothing imports the index`
      : undefined
  }
  if (fromRest.length === 0) return undefined // the index exports from everywhere
  const [left, right] = [order.indexOf(toFolder), order.indexOf(fromFolder)]
  if (right < 0) return `${from} stands in a folder that scripts/check-layers.mjs does not know`
  if (left < 0) return `${from} imports ${to}, a folder that scripts/check-layers.mjs does not know`
  return left > right ? `${from} imports ${to}: ${toFolder} stands right of ${fromFolder}` : undefined
}

if (isMain(import.meta.url)) {
  const problems = checkLayers(resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url))))
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exitCode = 1
}
