// The quickstart's scripts are plain Node and are not compiled: tests load them from the package's root.

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

/** Compiled tests stand in dist/test/quickstart. */
export async function script<T>(path: string): Promise<T> {
  return (await import(new URL(`../../../scripts/${path}`, import.meta.url).href)) as T
}
