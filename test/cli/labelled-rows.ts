import { writeFileSync } from 'node:fs'
import { Random } from '../../lib/data/random.js'

/** 48 rows of two ids, whose second one decides the label, 'no' or 'yes'. */
export function writeLabelledRows(file: string): void {
  const random = Random.fromSeed(1)
  const lines = Array.from({ length: 48 }, (_, i) => {
    return JSON.stringify({ input_ids: [5 + random.nextBelow(80), 91 + (i % 2)], label: ['no', 'yes'][i % 2] })
  })
  writeFileSync(file, `${lines.join('\n')}\n`)
}
