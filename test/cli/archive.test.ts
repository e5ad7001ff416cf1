import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { exportedFolder } from '../parity/support/exported.js'
import { command, fixtures, scratch } from './command.js'

const archive = async () => join(await exportedFolder(), 'llama.pt2')

test.serial('inspect tells what an archive of torch.export is and where adapters stand in it', async (t) => {
  const file = await archive()
  const { status, output, errors } = await command(['inspect', file])
  t.is(errors, '')
  t.is(status, 0)
  t.regex(output, /archive of torch\.export, which AutoModel\.fromExported reads/)
  t.regex(output, /class {9}LlamaModel, llama\n {2}size {10}2 layers, hidden size 16, \d+ parameters/)
  t.regex(output, /inputs {8}input_ids, attention_mask\n {2}outputs {7}last_hidden_state\n {2}tokenizer {5}none/)
  t.regex(output, /where adapters stand\n {2}layer 0 \(layers\.0\), attention: .*query layers\.0\.self_attn\.q_proj/)
  const json = JSON.parse((await command(['inspect', '--json', file])).output)
  using model = await AutoModel.fromExported(file)
  t.is(json.archive.class, 'LlamaModel')
  t.deepEqual(json.archive.placement, model.explainPlacement())
})

test.serial('commands that load a model say what reads an archive, and so does fromPretrained', async (t) => {
  const file = await archive()
  const input = join(scratch(), 'rows.jsonl')
  writeFileSync(input, '{"text": "a"}\n')
  const { status, errors } = await command([
    'predict',
    '--model',
    file,
    '--adapter',
    join(fixtures, 'folders/bert-seq_bn-bin'),
    '--input',
    input
  ])
  t.is(status, 1)
  t.regex(
    errors,
    /llama\.pt2 is an archive of torch\.export, not a folder.*AutoModel\.fromExported\('.*llama\.pt2'\) reads it/s
  )
  await t.throwsAsync(AutoModel.fromPretrained(file), {
    code: 'ERR_UNSUPPORTED',
    message: /is an archive of torch\.export.*AutoModel\.fromExported/s
  })
})
