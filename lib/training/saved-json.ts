/** JSON of what a checkpoint keeps. JSON has no numbers that are not finite: a measure that is NaN stands as { notFinite: 'NaN' }. */
export const savedToJson = (saved: unknown): string =>
  JSON.stringify(saved, (_, value) =>
    typeof value === 'number' && !Number.isFinite(value) ? { notFinite: String(value) } : value
  )

export const savedFromJson = (text: string): unknown =>
  JSON.parse(text, (_, value) => (typeof value?.notFinite === 'string' ? Number(value.notFinite) : value))
