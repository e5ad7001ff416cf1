/** What `train --head` offers. */
export const headKinds = [
  ...(['classification', 'regression', 'multilabel', 'tagging'] as const),
  ...(['question-answering', 'multiple-choice', 'dependency-parsing', 'causal-lm', 'masked-lm', 'default'] as const)
] as const
