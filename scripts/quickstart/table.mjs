// Rows of text with aligned columns: the first to the left, the others to the right.

/**
 * @param {string[]} head
 * @param {string[][]} rows
 * @returns {string}
 */
export function table(head, rows) {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  const format = (/** @type {string[]} */ line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('   ')
      .trimEnd()
  const rule = '─'.repeat(widths.reduce((sum, width) => sum + width, 3 * (widths.length - 1)))
  return [format(head), rule, ...rows.map(format)].join('\n')
}
