/**
 * Module paths by pattern, as names in a state dict: `*` stands for any characters of one component, `**` for any number
 * of components, and everything else for itself.
 */
export function pathPattern(pattern: string): (path: string) => boolean {
  const source = pattern
    .split('**')
    .map((part) => part.split('*').map(escapeRegExp).join('[^.]*'))
    .join('.*')
  const expression = new RegExp(`^${source}$`)
  return (path) => expression.test(path)
}

function escapeRegExp(text: string): string {
  return text.replace(/[.+?^${}()|[\]\\]/g, '\\$&')
}
