// npm run schema: writes schema/train.schema.json, which tells editors what a config for `torch-adapters train` may hold. The
// kinds of values are those of the rules that check them, the descriptions those that the sources have for readers.
//   node scripts/schema.mjs [FILE]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { root } from './lib/run.mjs'
import { isMain } from './lib/terminal.mjs'

const sources = ['lib/config/training-arguments.ts', 'lib/config/best-model.ts', 'lib/cli/train-config.ts']

/** What stands as a comment before each `readonly name:` of an interface. */
function descriptions() {
  const pattern = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*readonly (\w+)\??:/g
  const found = sources.flatMap((file) => [...readFileSync(join(root, file), 'utf8').matchAll(pattern)])
  const text = (comment) =>
    comment
      .replace(/^\s*\* ?/gm, ' ')
      .replace(/\s+/g, ' ')
      .trim()
  return new Map(found.map(([, comment, name]) => [name, text(comment)]))
}

export async function schemaText() {
  const { trainSchema } = await import(join(root, 'dist/lib/cli/train-config.js'))
  const known = descriptions()
  const schema = trainSchema()
  const properties = Object.entries(schema.properties).map(([name, property]) => {
    return [name, known.has(name) ? { description: known.get(name), ...property } : property]
  })
  return `${JSON.stringify({ ...schema, properties: Object.fromEntries(properties) }, null, 2)}\n`
}

if (isMain(import.meta.url)) {
  const file = resolve(process.argv[2] ?? join(root, 'schema/train.schema.json'))
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, await schemaText())
}
