import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { load, scratch } from './support.js'

/** A folder of BertForSequenceClassification with two outputs, whose config.json has these fields of its labels. */
async function folderOf(t: ExecutionContext, fields: object): Promise<string> {
  const folder = scratch(t)
  const source = await load(t)
  source.addClassificationHead('x', { numLabels: 2, layers: 1, activationFunction: null, usePooler: true })
  await source.savePretrained(folder, { modelClass: 'BertForSequenceClassification' })
  const file = join(folder, 'config.json')
  const { id2label: _, label2id: __, ...config } = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...config, ...fields }))
  return folder
}

async function modelOf(t: ExecutionContext, fields: object): Promise<Model> {
  const model = await AutoModel.fromPretrained(await folderOf(t, fields))
  t.teardown(() => model.dispose())
  return model
}

const namesOf = (model: Model) => (model.heads.get('default') as { label2id: unknown } | undefined)?.label2id

test('ids that are texts are ids; what is none names the file', async (t) => {
  t.deepEqual(namesOf(await modelOf(t, { label2id: { neg: '0', pos: '1' } })), { neg: 0, pos: 1 })
  const folder = await folderOf(t, { label2id: { neg: 'a', pos: 'b' } })
  await t.throwsAsync(AutoModel.fromPretrained(folder), {
    code: 'ERR_INVALID_FILE',
    message: /config\.json.*label2id\['neg'\]: expected an integer from 0, got 'a'/
  })
})
