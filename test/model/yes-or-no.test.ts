import test from 'ava'
import { AdapterTrainer, AutoModel, Fuse, MultiTaskTrainer, trainSweep } from '../../lib/index.js'
import { load, quiet, scratch, tinyRows } from './support.js'

test('what is yes or no is a boolean in every call, and nothing has changed where it is not', async (t) => {
  const model = await load(t)
  const rows = tinyRows(4)
  const { inputIds = [] } = rows[0] ?? {}
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  model.addAdapterFusion(['a', 'b'])
  const folder = scratch(t)
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args: quiet })
  const tasks = new MultiTaskTrainer({ model, tasks: { a: { dataset: rows } }, args: quiet })
  const inputs = { inputIds: [inputIds] }
  type Call = (options: never) => unknown
  const calls: [names: string[], ...Call[]][] = [
    [
      ['overwriteOk'],
      (o) => model.addAdapter('c', 'seq_bn', o),
      (o) => model.addAdapterFusion(['a', 'b'], 'static', o)
    ],
    [['overwriteOk'], (o) => model.averageHead('c', ['a', 'b'], o), (o) => model.loadHead(folder, o)],
    [['overwriteOk', 'normalizeWeights', 'setActive'], (o) => model.averageAdapter('c', ['a', 'b'], o)],
    [['withHead'], (o) => model.saveAdapter(folder, 'a', o), (o) => model.saveAdapterSetup(folder, 'a', o)],
    [['overwriteOk', 'setActive', 'offline'], (o) => model.loadAdapter(folder, o)],
    [['overwriteOk', 'setActive', 'offline'], (o) => model.loadAdapterFusion(folder, o)],
    [['overwriteOk', 'setActive', 'withHead'], (o) => model.loadAdapterSetup(folder, o)],
    [['unfreezeAdapters'], (o) => model.trainAdapterFusion(Fuse('a', 'b'), o)],
    [['outputAdapterFusionAttentions', 'allowNoAnswer'], (o) => model.predict(rows, o)],
    [['outputAdapterFusionAttentions', 'outputHiddenStates'], (o) => model.forward(inputs, o)],
    [['doSample'], (o) => model.generate([{ inputIds }], o)],
    [['shapes'], (o) => model.namedModules('**', o)],
    [['withHead', 'offline'], (o) => AutoModel.fromPretrained(folder, o)],
    [['saveOnAbort'], (o) => trainer.train(o), (o) => tasks.train(o), (o) => trainSweep(model, rows, {}, o)],
    [
      ['overwriteOk'],
      ...[model.addClassificationHead, model.addRegressionHead, model.addMultiLabelClassificationHead].map(ofHead),
      ...[model.addTaggingHead, model.addQuestionAnsweringHead, model.addMultipleChoiceHead].map(ofHead),
      ...[model.addDependencyParsingHead, model.addCausalLmHead, model.addMaskedLmHead].map(ofHead)
    ]
  ]
  function ofHead(add: (name: string, options: never) => void): Call {
    return (options: object) => add.call(model, 'c', options as never)
  }
  for (const [names, ...ofNames] of calls) {
    for (const call of ofNames) {
      for (const name of names) {
        for (const value of ['yes', 1, null]) {
          const run = async () => await call({ [name]: value } as never)
          await t.throwsAsync(run, { instanceOf: TypeError, message: new RegExp(`^${name}: expected true or false`) })
        }
      }
    }
  }
  t.deepEqual([...model.adapters.keys(), ...model.heads.keys()], ['a', 'b', 'a', 'b'])
})
