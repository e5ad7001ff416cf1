import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { startHub } from '../exchange/hub-server.js'
import { repository } from '../native/support.js'
import { type Ended, startProcess } from '../support/process.js'

/** A user's project that has this package installed, and what the pages take for granted there. */
export interface Project {
  readonly folder: string
  run(command: string, args: readonly string[]): Promise<Ended>
  close(): Promise<void>
}

const fixtures = join(repository, 'test/parity/fixtures')
const letters = 'abcdefghijklmnopqrstuvwxyz'

/** Word pieces for the tiny model's 99 ids: any English text is letters of it. */
function vocabulary(): string {
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ',', '.', '!']
  return [...special, ...letters, ...[...letters].map((letter) => `##${letter}`)].join('\n')
}

/** `bert-base-uncased` is a tiny model here, on a hub of this machine: the code of the pages stays as it stands. */
function tinyModel(): Record<string, Buffer> {
  const model = join(fixtures, 'models/bert-tiny')
  const tokenizer = { tokenizer_class: 'BertTokenizer', do_lower_case: true, model_max_length: 24 }
  return {
    'config.json': readFileSync(join(model, 'config.json')),
    'model.safetensors': readFileSync(join(model, 'model.safetensors')),
    'vocab.txt': Buffer.from(vocabulary()),
    'tokenizer_config.json': Buffer.from(JSON.stringify(tokenizer))
  }
}

/** The one substitution: `npx` starts the command of this package directly, because the real one wants a registry. */
function writeCommands(folder: string): void {
  const main = join(repository, 'dist/lib/cli/main.js')
  const scripts = { npx: 'exec "$@"', 'torch-adapters': `exec '${process.execPath}' '${main}' "$@"` }
  for (const [name, line] of Object.entries(scripts)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${line}\n`)
    chmodSync(join(folder, name), 0o755)
  }
}

export async function openProject(): Promise<Project> {
  const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-docs-'))
  const bin = join(folder, 'node_modules/.bin')
  mkdirSync(bin, { recursive: true })
  writeCommands(bin)
  symlinkSync(repository, join(folder, 'node_modules/torch-adapters'), 'junction')
  symlinkSync(join(repository, 'node_modules/@types'), join(folder, 'node_modules/@types'), 'junction')
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
  cpSync(join(fixtures, 'folders/bert-seq_bn-bin'), join(folder, 'topic-from-python'), { recursive: true })
  const archive = readFileSync(join(fixtures, 'exported/llama.pt2.gz'))
  writeFileSync(join(folder, 'llama.pt2'), gunzipSync(archive))
  writeFileSync(
    join(folder, 'dev.jsonl'),
    '{"text": "warm, clever", "label": "good"}\n{"text": "too long", "label": "bad"}\n'
  )
  const hub = await startHub('bert-base-uncased', tinyModel())
  const env = {
    ...process.env,
    ...{ HF_ENDPOINT: hub.endpoint, HF_HOME: join(folder, '.hub'), HF_HUB_OFFLINE: '', TRANSFORMERS_OFFLINE: '' },
    ...{ OMP_NUM_THREADS: '1', PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` }
  }
  for (const name of ['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN'])
    delete (env as NodeJS.ProcessEnv)[name]
  return {
    folder,
    run: (command, args) => startProcess(command, args, { cwd: folder, env }).ended,
    close: async () => {
      await hub.close()
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
