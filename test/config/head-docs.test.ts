import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import * as choice from '../../lib/config/choice-heads.js'
import * as heads from '../../lib/config/head-config.js'

interface Described {
  readonly parents: readonly string[]
  /** Documentation by field. */
  readonly fields: ReadonlyMap<string, string>
}

/** The interfaces of the files of head configs, with what editors show of their fields. */
function described(): Map<string, Described> {
  const source = ['head-fields', 'choice-heads', 'head-config'].map((name) =>
    readFileSync(fileURLToPath(new URL(`../../../lib/config/${name}.ts`, import.meta.url)), 'utf8')
  )
  const found = source.join('\n').matchAll(/^(?:export )?interface (\w+)(?: extends ([\w, ]+))? \{\n([\s\S]*?)^\}/gm)
  return new Map(
    Array.from(found, ([, name = '', parents = '', body = '']) => {
      const fields = body.matchAll(/(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s+)?readonly (\w+)\??:/g)
      const texts = Array.from(fields, ([, text = '', field = '']) => [
        field,
        text.replace(/\s+\*\s+|\s+/g, ' ').trim()
      ])
      return [name, { parents: parents.split(', ').filter(Boolean), fields: new Map(texts as [string, string][]) }]
    })
  )
}

function fieldsOf(all: ReadonlyMap<string, Described>, name: string): Map<string, string> {
  const own = all.get(name)
  if (own === undefined) throw new Error(`no interface ${name}`)
  return new Map([...own.parents.flatMap((parent) => [...fieldsOf(all, parent)]), ...own.fields])
}

const defaults: Readonly<Record<string, object>> = {
  ClassificationHeadConfig: heads.classificationHead(),
  MultiLabelHeadConfig: heads.multiLabelHead(),
  ImageClassificationHeadConfig: heads.imageClassificationHead(),
  TaggingHeadConfig: heads.taggingHead(),
  MaskedLmHeadConfig: heads.maskedLmHead(),
  CausalLmHeadConfig: heads.causalLmHead(),
  QuestionAnsweringHeadConfig: choice.questionAnsweringHead(),
  MultipleChoiceHeadConfig: choice.multipleChoiceHead(),
  DependencyParsingHeadConfig: choice.dependencyParsingHead()
}

test('every option of a head says its default, and it is that', (t) => {
  const all = described()
  for (const [name, config] of Object.entries(defaults)) {
    const fields = fieldsOf(all, name)
    for (const [field, value] of Object.entries(config)) {
      if (field === 'headType') continue
      const text = fields.get(field) ?? ''
      const said = typeof value === 'string' ? `'${value}'` : String(value)
      t.regex(text, new RegExp(`\\bDefault ${said}[.,;:]`), `${name}.${field}: default ${said}`)
    }
  }
})
