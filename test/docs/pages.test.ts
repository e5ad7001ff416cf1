import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import * as library from '../../lib/index.js'
import { repository } from '../native/support.js'
import { script } from '../setup/script.js'
import { anchors, type Block, codeBlocks, commands, links, pageOf, pages, readme, tableRows } from './pages.js'
import { openProject, type Project } from './project.js'

const blocks = pages.flatMap(codeBlocks)
const programs = blocks.filter(({ language }) => language === 'ts')
const files = blocks.filter(({ language }) => ['jsonl', 'yaml'].includes(language))
const shell = blocks.filter(({ language }) => language === 'sh').flatMap(commands)
const place = ({ page, line }: Block) => `${page}, line ${line}`
const programName = ({ page, line }: Block) => `${page.replace(/\.md$/, '').replaceAll('/', '-')}-line-${line}`

let project: Project

test.before(async () => {
  project = await openProject()
  for (const { title, code } of files) writeFileSync(join(project.folder, title), code)
  for (const program of programs) writeFileSync(join(project.folder, `${programName(program)}.ts`), program.code)
})

test.after.always(() => project?.close())

test('README lists every page of docs', (t) => {
  const there = readdirSync(join(repository, 'docs')).map((name) => `docs/${name}`)
  t.deepEqual(pages.map(({ path }) => path).sort(), ['README.md', ...there].sort())
})

test('every kind of block on the pages is one that is checked', (t) => {
  t.deepEqual([...new Set(blocks.map(({ language }) => language))].sort(), ['jsonl', 'python', 'sh', 'ts', 'yaml'])
  const titles = files.map(({ title }) => title)
  t.is(new Set(titles).size, titles.length, 'a file is written twice')
  t.true(programs.length >= 11)
  t.true(programs.every(({ code }) => code.startsWith('import ')))
})

// The declarations are checked too, as a project sees them that does not skip them.
test.serial('the programs compile in a strict project', async (t) => {
  const compilerOptions = { target: 'es2022', module: 'nodenext', strict: true, types: ['node'], skipLibCheck: false }
  writeFileSync(join(project.folder, 'tsconfig.json'), JSON.stringify({ compilerOptions }))
  const { code, stdout } = await project.run(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc')])
  t.is(code, 0, stdout)
})

/** What a program must print, by a word of its code. */
const printed: readonly (readonly [string, RegExp])[] = [
  [
    'const placement =',
    /^layer 0 \(layers\.0\), attention: layers\.0\.self_attn \(.*by your placement, the sum at .*\n$/
  ],
  ['fromExported(', /^layer 0 \(layers\.0\), attention: .*\nloss \d\.\d{3}\n$/],
  ['fusedAdapters(', /output\.dense\.1\.adapters\.en'[\s\S]*output\.dense\.1\.adapters\.de'/],
  ['MultiTaskAdapterModel(', /^mood \[ 1, 2 \]\n$/],
  ['addAdaptersToModel(', /^16 2\nthe model as it was\nthe model as it was\n$/],
  ["trainAdapter('mood')\n\nconst trainDataset", /^loss \d\.\d{3}; (bad|good) [01]\.\d\d\n$/],
  ["saveAdapter('out/topic'", /^topic LABEL_[0-2]\n$/],
  ['trainAll()', /^full fine-tuning: \d+\nthe head alone: \d+\nadapter and head[^:]*: \d+\n(accuracy [\d.]+\n){3}$/],
  ['fuseTasks(', /^mood,length: loss \d\.\d{3}\n$/],
  ['trainSweep(', /adapter[ │]+reductionFactor[ │]+learningRate[ │]+parameters[\s\S]*sweep-[1-4]/],
  ['trainAdapterFusion(', /^fused: (bad|good)\n$/],
  ['generateStream(', /^([01] \d+ false\n){38}([01] \d+ true\n){2}$/],
  ['pixelValues', /^bright\n$/],
  ['Stack(', /^0 (bad|good) .*\n1 LABEL_. .*\n2 (bad|good) .*\n3 (bad|good) .*\n\[ 2, 2 \] 3\n$/]
]

for (const program of programs) {
  test.serial(`the program of ${place(program)} runs`, async (t) => {
    const { code, stdout, stderr } = await project.run(process.execPath, [`${programName(program)}.js`])
    t.is(code, 0, stderr)
    const expected = printed.find(([word]) => program.code.includes(word))
    t.truthy(expected, 'The test does not know what this program prints')
    t.regex(stdout, expected?.[1] ?? /^$/)
  })
}

for (const [i, command] of shell.filter((line) => line.startsWith('npx ')).entries()) {
  test.serial(`command ${i + 1} runs: ${command.slice(0, 60)} …`, async (t) => {
    const { code, stderr } = await project.run('sh', ['-c', command])
    t.is(code, 0, stderr)
  })
}

test.serial('the command line left what the pages say', (t) => {
  const answers = readFileSync(join(project.folder, 'out/answers.jsonl'), 'utf8').trim().split('\n')
  const parsed = answers.map((line) => JSON.parse(line) as { id: number; logits: number[] })
  t.deepEqual(
    parsed.map(({ id, logits }) => [id, logits.length]),
    [
      [1, 2],
      [2, 3],
      [3, 2]
    ]
  )
  for (const file of [
    'out/mood.html',
    'out/mood-bin/pytorch_adapter.bin',
    'out/curves.html',
    'out/topic-bin/pytorch_model_head.bin'
  ]) {
    t.true(existsSync(join(project.folder, file)), file)
  }
})

test('npm commands on the pages exist; what they do is tested elsewhere', async (t) => {
  const { readOptions } = await script<{ readOptions(args: string[]): unknown }>('quickstart/options.mjs')
  const { scripts } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { scripts: object }
  const rest = shell.filter((line) => !line.startsWith('npx '))
  const named = pages.flatMap(({ text }) => text.match(/`npm run [\w:]+/g) ?? []).map((match) => match.slice(1))
  for (const line of [...rest, ...named]) {
    const [, name = '', args = ''] = /^npm (?:run )?([\w:]+)(?: -- (.*))?$/.exec(line) ?? []
    t.true(name === 'pack' || name in scripts, line)
    if (name === 'quickstart' && args !== '') t.is(typeof readOptions(args.split(' ')), 'object', line)
  }
})

test('the tables of commands and exit statuses are those of the program', async (t) => {
  const { stdout } = await project.run('torch-adapters', ['--help'])
  const listed = [...stdout.matchAll(/^ {2}([\w-]+) {2}/gm)].map(([, name]) => `\`${name}\``)
  const page = pageOf('docs/command-line.md')
  for (const one of [readme, page]) t.deepEqual(tableRows(one, 'command'), listed, one.path)
  const { exitStatus } = await import('../../lib/cli/arguments.js')
  t.deepEqual(tableRows(page, 'exit status').map(Number), Object.values(exitStatus))
  t.is((await project.run('torch-adapters', ['trian'])).code, exitStatus.wrongUse)
  t.is((await project.run('torch-adapters', ['inspect', 'train.jsonl'])).code, exitStatus.failed)
})

test('the table of the repository names everything that is kept at its top', (t) => {
  const names = tableRows(readme, 'name').flatMap((cell) =>
    [...cell.matchAll(/`([^`]+?)\/?`/g)].map(([, name]) => name ?? '')
  )
  for (const name of names) t.true(existsSync(join(repository, name)), name)
  if (!existsSync(join(repository, '.git'))) return
  const kept = execFileSync('git', ['ls-files'], { cwd: repository, encoding: 'utf8' }).trim().split('\n')
  const missing = [...new Set(kept.map((file) => file.replace(/\/.*/, '')))].filter((name) => !names.includes(name))
  t.deepEqual(missing, [])
})

const modelPage = pageOf('docs/model.md')

test('the calls of a model on its page are calls of a model', (t) => {
  const names = tableRows(modelPage, 'call').flatMap((cell) =>
    [...cell.matchAll(/`(\w+)/g)].map(([, name]) => name ?? '')
  )
  t.true(names.length > 10)
  for (const name of names) t.true(name in library.Model.prototype, name)
})

test('what stands beside a model on its page is in the package', (t) => {
  const names = tableRows(modelPage, 'function or class').map((cell) => /`(?:new )?(\w+)/.exec(cell)?.[1] ?? '')
  t.true(names.length >= 5)
  for (const name of names) t.true(name in library, name)
})

test('headings of a page have anchors of their own', (t) => {
  for (const page of pages) t.deepEqual(anchors(page), [...new Set(anchors(page))], page.path)
})

test('the links of the pages lead somewhere', (t) => {
  for (const page of pages) {
    for (const { target, anchor } of links(page)) {
      const link = `${page.path}: ${target}#${anchor}`
      t.true(existsSync(join(repository, target)), link)
      if (anchor !== '') t.true(anchors(pageOf(target)).includes(anchor), link)
    }
  }
})
