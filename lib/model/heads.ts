import {
  type ClassificationHeadOptions,
  classificationHead,
  type HeadConfig,
  type MaskedLmHeadOptions,
  type MultiLabelHeadOptions,
  maskedLmHead,
  multiLabelHead,
  type RegressionHeadOptions,
  regressionHead,
  type TaggingHeadOptions,
  taggingHead
} from '../config/head-config.js'

export interface AddOptions {
  /** Replace one of this name. Default false: an error. */
  readonly overwriteOk?: boolean | undefined
}

/** A model's calls that add a head of one kind. */
export abstract class HeadAdders {
  abstract addHead(name: string, config: HeadConfig, options?: AddOptions): void

  /** One class a row; two layers with tanh by default, as AdapterHub. */
  addClassificationHead(name: string, options: ClassificationHeadOptions & AddOptions = {}): void {
    const { overwriteOk, ...rest } = options
    this.addHead(name, classificationHead(rest), { overwriteOk })
  }

  /** One number a row; mean squared error. */
  addRegressionHead(name: string, options: RegressionHeadOptions & AddOptions = {}): void {
    const { overwriteOk, ...rest } = options
    this.addHead(name, regressionHead(rest), { overwriteOk })
  }

  /** Any number of labels a row. */
  addMultiLabelClassificationHead(name: string, options: MultiLabelHeadOptions & AddOptions = {}): void {
    const { overwriteOk, ...rest } = options
    this.addHead(name, multiLabelHead(rest), { overwriteOk })
  }

  /** One class a token. */
  addTaggingHead(name: string, options: TaggingHeadOptions & AddOptions = {}): void {
    const { overwriteOk, ...rest } = options
    this.addHead(name, taggingHead(rest), { overwriteOk })
  }

  /** Masked language modelling; its decoder is the word embedding. */
  addMaskedLmHead(name: string, options: MaskedLmHeadOptions & AddOptions = {}): void {
    const { overwriteOk, ...rest } = options
    this.addHead(name, maskedLmHead(rest), { overwriteOk })
  }
}
