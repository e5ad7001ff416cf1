// Several .cc files of a folder are compiled as one unit (CMakeLists.txt, native/cmake/CoreTests.cmake). There the unnamed
// namespaces of all of them are one, and a header that one includes is before all that follow: two things of one name are an
// error that shows only in a build where their files meet, and which do changes with every new file. So no file may have a
// name for what another of its folder, or a header, has it for. Fails where one does, and names each.
//   node scripts/check-units.mjs [ROOT]
import { readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { definitionsIn } from './lib/cpp-definitions.mjs'
import { filesBelow } from './lib/stamp.mjs'
import { isMain } from './lib/terminal.mjs'

/** Where such folders are; each may include headers of all below the same. */
const places = ['native/core', 'test/core']

/** Sentences, one for each name that two files have. */
export function checkUnits(root) {
  const problems = []
  for (const place of places) {
    const files = filesBelow([place], (file) => /\.(cc|h)$/.test(file), root).map((file) => read(join(root, file)))
    const [headers, sources] = [files.filter(isHeader), files.filter((one) => !isHeader(one))]
    for (const folder of new Set(sources.map(({ file }) => dirname(file)))) {
      const known = new Map()
      // What one file has of a namespace without saying so, those behind it have, too.
      const own = sources.filter(({ file }) => dirname(file) === folder)
      const opened = [...new Set(own.flatMap((one) => one.opened))].sort((a, b) => b.length - a.length)
      for (const { file, names } of [...headers, ...own]) {
        for (const [full, value] of names) {
          const name = opened.reduce((rest, space) => rest.replace(new RegExp(`^${space}::`), ''), full)
          const first = known.get(name)
          if (first === undefined) known.set(name, { file, value })
          // Two may call the same by the same name.
          else if (!isHeader({ file }) && (value === '' || value !== first.value)) {
            problems.push(sentence(name, relative(root, first.file), relative(root, file)))
          }
        }
      }
    }
  }
  return problems
}

const isHeader = ({ file }) => file.endsWith('.h')

function sentence(name, ...files) {
  const [first, second] = files.map((file) => file.split(sep).join('/'))
  return `${first} and ${second} both have ${name}, and may be compiled as one unit: rename one`
}

function read(file) {
  const text = readFileSync(file, 'utf8')
  try {
    const opened = Array.from(text.matchAll(/^using namespace ([\w:]+);/gm), ([, space]) => space)
    return { file, opened, names: definitionsIn(text) }
  } catch (cause) {
    throw new Error(`${file} is not read: ${cause.message}`, { cause })
  }
}

if (isMain(import.meta.url)) {
  const problems = checkUnits(resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url))))
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exitCode = 1
}
