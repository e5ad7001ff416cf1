// What the tests use of the quickstart's scripts, which are plain JavaScript.

export interface Synset {
  readonly id: string
  readonly pos: string
  readonly lexname: string
  readonly definition: string
  readonly examples: string[]
  readonly lemmas: string[]
  readonly hypernyms: string[]
  readonly split: 'train' | 'dev' | 'test' | null
}

export interface Row {
  readonly text: string
  readonly textPair?: string
  readonly label: number
}

interface Parts<T> {
  readonly labels: string[]
  readonly train: T[]
  readonly dev: T[]
  readonly test: T[]
}

export interface TaggedRow {
  readonly text: string
  readonly words: string[]
  readonly tags: number[]
}

export interface Wordnet {
  readonly lexnames: string[]
  readWordnet(): Synset[]
  normalized(definition: string): string
  splitGloss(gloss: string): { definition: string; examples: string[] }
  hash32(text: string): number
}

export interface Tasks {
  readonly taskBuilders: {
    lexname(synsets: Synset[]): Parts<Row>
    hypernym(synsets: Synset[]): Parts<Row>
    lemma(synsets: Synset[]): Parts<TaggedRow>
  }
}

export interface BagOfWordsModule {
  readonly BagOfWords: new (
    labels: number
  ) => { readonly parameters: number; train(rows: Row[]): void; predict(rows: Row[]): number[] }
}

export interface Measures {
  measure(answers: number[], truth: number[], labels: number): { accuracy: number; macroF1: number }
  measureTags(answers: number[][], truth: number[][]): { accuracy: number; macroF1: number }
}
