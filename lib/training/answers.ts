import type { HeadConfig } from '../config/head-config.js'
import { lengthOf, partsOf } from '../data/collate.js'
import type { Model } from '../model/model.js'
import { answerCount } from '../model/part-answers.js'
import { type Prediction, predictionOf } from '../model/predict.js'
import type { TensorData } from '../native/types.js'
import type { BatchAnswers, EncodedDataset } from './encoded.js'

/** Makes each row's answer, as model.predict has it, of what an evaluation's passes give. */
export class AnswerCollector {
  /** One a row; with Parallel one for each child and row, child after child. */
  readonly predictions: Prediction[] = []

  constructor(
    private readonly model: Model,
    private readonly dataset: EncodedDataset
  ) {}

  take({ head, rows, places }: BatchAnswers, { data, shape }: TensorData): void {
    const config = this.model.heads.get(head) as HeadConfig
    const [, width = 1] = shape
    let at = 0
    for (const [i, encoded] of rows.entries()) {
      const parts = partsOf(encoded).map((part) => {
        const from = at
        at += width * answerCount(config, part, lengthOf(part))
        return data.slice(from, at)
      })
      const { row, copy } = places[i] as BatchAnswers['places'][number]
      const place = copy * this.dataset.length + row
      this.predictions[place] = predictionOf(this.model, config, parts, { row: this.dataset.row(row), encoded })
    }
  }
}
