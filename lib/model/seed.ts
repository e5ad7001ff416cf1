/** A seed for what has this name: it starts alike whatever was added before it (32-bit FNV-1a over both). */
export function seedFor(seed: number, name: string): number {
  let hash = 0x811c9dc5
  for (const character of `${seed}:${name}`) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193)
  return hash >>> 0
}
