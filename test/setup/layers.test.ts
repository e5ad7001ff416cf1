import test, { type ExecutionContext } from 'ava'
import { repository, temporaryFolder, writeTree } from '../native/support.js'
import { script } from './script.js'

const { checkLayers } = await script<{ checkLayers(root: string): string[] }>('check-layers.mjs')

function check(t: ExecutionContext, files: Readonly<Record<string, string>>): string[] {
  const root = temporaryFolder(t)
  writeTree(root, files)
  return checkLayers(root)
}

test('this repository keeps its layers', (t) => {
  t.deepEqual(checkLayers(repository), [])
})

test('imports from the left and from the own folder pass', (t) => {
  const problems = check(t, {
    'lib/model/a.ts': "import { b } from '../config/b.js'\nimport type { c } from './c.js'\nimport fs from 'node:fs'\n",
    'lib/index.ts': "export * from './model/a.js'\n",
    'native/core/nn/a.cc':
      '#include "core/nn/a.h"\n#include "core/config/b.h"\n#include "core/error.h"\n#include <ATen/ATen.h>\n'
  })
  t.deepEqual(problems, [])
})

const wrong: Readonly<Record<string, [string, string, RegExp]>> = {
  'an import': [
    'lib/config/a.ts',
    "import { b } from '../model/b.js'",
    /lib\/config\/a\.ts imports lib\/model\/b\.js: model stands right of config/
  ],
  'a type import': ['lib/config/a.ts', "import type { b } from '../cli/b.js'", /cli stands right of config/],
  'a re-export': ['lib/data/a.ts', "export { b } from '../model/b.js'", /model stands right of data/],
  'a dynamic import': ['lib/data/a.ts', "await import('../model/b.js')", /model stands right of data/],
  'the index': ['lib/cli/a.ts', "import { x } from '../index.js'", /nothing imports the index/],
  'an include': ['native/core/nn/a.cc', '#include "core/models/bert.h"', /models stands right of nn/],
  'a way out of the core': ['native/core/nn/a.cc', '#include "binding/engine.h"', /outside native\/core/],
  'napi in the core': ['native/core/nn/a.h', '#include <napi.h>', /includes Node's headers/],
  'an unknown folder': [
    'lib/misc/a.ts',
    "import { b } from '../config/b.js'",
    /a folder that scripts\/check-layers\.mjs does not know/
  ]
}

for (const [what, [file, text, expected]] of Object.entries(wrong)) {
  test(`found: ${what}`, (t) => {
    const problems = check(t, { [file]: `${text}\n` })
    t.is(problems.length, 1)
    t.regex(problems[0] ?? '', expected)
  })
}
