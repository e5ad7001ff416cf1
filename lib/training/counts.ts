/** A part of a whole that may be nothing: then 0, as scikit-learn has it. */
export function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}

/** F1 of what was found, of what there was and of what was answered. */
export function f1(hits: number, labelled: number, predicted: number): number {
  return share(2 * hits, labelled + predicted)
}
