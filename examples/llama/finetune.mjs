// LoRA on a network that this library has no code for: its graph comes from an archive of torch.export.
import { join } from 'node:path'
import { AdapterTrainer, AutoModel } from 'torch-adapters'

/** @typedef {{ text?: string, inputIds?: number[], label: string | number }} Row */

/** The share of rows that get their label. @param {import('torch-adapters').Model} model @param {Row[]} rows */
async function accuracy(model, rows) {
  const answers = await model.predict(rows.map(({ label: _, ...row }) => row))
  return answers.filter(({ label }, i) => label === rows[i]?.label).length / rows.length
}

/**
 * Trains an adapter and a head, and saves both: the adapter as a folder that Python's `peft` loads.
 * @param {{ archive: string, labels: string[], train: Row[], test: Row[], out: string, args?: object }} options
 */
export async function finetune({ archive, labels, train, test, out, args }) {
  const model = await AutoModel.fromExported(archive)
  try {
    model.addAdapter('kinds', {
      architecture: 'lora',
      r: 8,
      alpha: 16,
      targetModules: ['q_proj', 'v_proj', 'down_proj']
    })
    model.addClassificationHead('kinds', { labels })
    model.trainAdapter('kinds')
    const before = await accuracy(model, test)
    const trainer = new AdapterTrainer({
      model,
      trainDataset: train,
      args: {
        outputDir: join(out, 'run'),
        perDeviceTrainBatchSize: 32,
        learningRate: 8e-3,
        saveStrategy: 'no',
        ...args
      }
    })
    const { loss } = await trainer.train()
    const after = await accuracy(model, test)
    await model.saveAdapter(join(out, 'adapter'), 'kinds', { library: 'peft', withHead: false })
    await model.saveHead(join(out, 'head'), 'kinds')
    const texts = test.slice(0, 4).map(({ label: _, ...row }) => row)
    const answers = await model.predict(texts)
    return { before, after, loss, answers: texts.map((row, i) => ({ ...row, logits: [...answers[i].logits] })) }
  } finally {
    model.dispose()
  }
}
