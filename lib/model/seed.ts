/** A seed for what has this name: it starts alike whatever was added before it (32-bit FNV-1a over both). */
export function seedFor(seed: number, name: string): number {
  let hash = 0x811c9dc5
  for (const character of `${seed}:${name}`) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193)
  return hash >>> 0
}

/** The seed of something new: the model's for what has this name, or one that was given, for whatever it is called. */
export function startSeed(model: number, name: string, given: number | undefined): number {
  return given === undefined ? seedFor(model, name) : seedFor(given, '')
}
