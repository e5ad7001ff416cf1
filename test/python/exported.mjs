// Node's half of the check of exported networks: LoRA on a Llama that only its archive knows, to PEFT and back.
//   node exported.mjs write FOLDER     saves an adapter for PEFT, and the hidden states that it gives
//   node exported.mjs read FOLDER      loads what PEFT saved and compares
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AutoModel } from '../../dist/lib/index.js'
import { unpackFixtures } from '../../scripts/lib/unpack-fixtures.mjs'

const rows = [[7], [9, 8, 30], [20, 21, 22, 23, 24, 5, 6, 36]]
const [way, folder] = process.argv.slice(2)
const model = await AutoModel.fromExported(join(unpackFixtures(), 'llama.pt2'))

async function statesOf(name) {
  const all = []
  for (const row of rows) {
    const { lastHiddenState } = await model.forward({ inputIds: [row] }, { adapters: name, head: null })
    all.push([...lastHiddenState.data])
  }
  return all
}

if (way === 'write') {
  model.addAdapter('x', {
    ...{ architecture: 'lora', targetModules: ['q_proj', 'o_proj', 'up_proj', 'gate_proj'], leaveOut: [0] },
    ...{ r: 2, alpha: 6, useDora: 'peft' }
  })
  const own = model.namedParameters().filter(({ name }) => name.includes('.loras.x.lora_'))
  const values = own.map(({ name, shape }, i) => [
    name,
    { shape, data: Float32Array.from({ length: shape[0] * shape[1] }, (_, j) => Math.sin(i + j) / 4) }
  ])
  model.loadStateDict(new Map(values))
  await model.saveAdapter(join(folder, 'ours'), 'x', { library: 'peft', withHead: false })
  writeFileSync(join(folder, 'ours.json'), JSON.stringify({ rows, states: await statesOf('x') }))
} else {
  const { states } = JSON.parse(readFileSync(join(folder, 'theirs.json'), 'utf8'))
  await model.loadAdapter(join(folder, 'theirs'), { as: 'y' })
  const got = (await statesOf('y')).flat()
  const away = Math.max(...states.flat().map((value, i) => Math.abs(value - got[i])))
  if (!(away < 1e-5)) throw new Error(`PEFT's LoRA on an exported Llama is off by ${away}`)
  console.log(`an exported Llama answers with PEFT's LoRA as Python does (${away.toExponential(1)})`)
}
