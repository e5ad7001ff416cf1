const told = new WeakMap<object, Set<string>>()

/** Emits a warning once for each `owner`, such as a model whose run writes a checkpoint every so often. */
export function warnOnce(owner: object, text: string, code: string): void {
  const before = told.get(owner) ?? new Set()
  told.set(owner, before)
  if (before.has(text)) return
  before.add(text)
  process.emitWarning(text, { code })
}
