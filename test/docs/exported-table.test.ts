import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { fixtures } from '../parity/support/fixtures.js'
import { checkTable } from './tiny-families.js'

interface Told {
  readonly class: string
  readonly nodes?: number
  readonly preserved?: number
  readonly notPreserved?: { readonly [path: string]: string }
  readonly notes?: readonly string[]
  /** What torch.export said where there is no graph. */
  readonly refused?: string
}

const read = (name: string) =>
  Object.entries(JSON.parse(readFileSync(join(fixtures, 'exported', name), 'utf8')) as { [name: string]: Told }).map(
    ([key, told]) =>
      key.endsWith('-masked') ? { ...told, notes: ['rows of any length', ...(told.notes ?? [])] } : told
  )

/** What the note says before its colon. */
const short = (note: string) => note.replace(/:.*/, '')

function row({ class: name, nodes, preserved, notPreserved = {}, notes = [], refused }: Told, hasCases: boolean) {
  if (refused !== undefined) {
    const reason = /torch says: (\w+)/.exec(refused)?.[1] ?? refused
    const meaning = /refuses \w+: ([^.(:]+)/.exec(refused)?.[1]?.trim() ?? ''
    return `| \`${name}\` | no: ${meaning} (\`${reason}\`) | |`
  }
  const without = Object.keys(notPreserved).length
  const remarks = [
    ...(without > 0 ? [`${without} ${without === 1 ? 'module' : 'modules'} without a signature`] : []),
    ...notes.map(short)
  ]
  // The survey counts inputs among the nodes.
  const size = hasCases ? `${nodes} nodes, ${preserved} modules ●` : `${preserved} modules`
  return `| \`${name}\` | ${size} | ${remarks.join('; ')} |`
}

// After `npm run fixtures`: UPDATE_DOCS=1 npx ava dist/test/docs/exported-table.test.js
test('docs/exported-networks.md says what torch.export takes', (t) => {
  const tested = read('models.json').map((told) => row(told, true))
  const surveyed = read('survey.json').map((told) => row(told, false))
  checkTable(t, 'docs/exported-networks.md', '| tiny model of | its graph | |', [...tested, ...surveyed])
})

test('every exported model has its cases', (t) => {
  const names = Object.keys(JSON.parse(readFileSync(join(fixtures, 'exported', 'models.json'), 'utf8')) as object)
  t.true(names.length >= 20)
  for (const name of names) {
    for (const kind of ['pt2', 'json', 'safetensors']) {
      t.true(existsSync(join(fixtures, 'exported', `${name}.${kind}.gz`)), `${name}.${kind}`)
    }
  }
})
