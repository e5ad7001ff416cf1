import { optionOf, plainOptions, readableOptions } from './train-options.js'

/** Options that decide an argument together with others, or that no `--set` takes the place of. */
const alsoOf: Readonly<Record<string, readonly string[]>> = {
  metricForBestModel: ['best'],
  parameterGroups: ['parameter-groups', 'head-learning-rate'],
  perDeviceEvalBatchSize: ['batch-size']
}

/**
 * An error of the library about `args.NAME`, as whoever typed the command line knows it: `--batch-size`. What a config
 * says keeps the argument's name, which is the name that it has there.
 */
export function withOptionNames(message: string, argv: readonly string[]): string {
  const [place = '', name = '', rest = ''] = /^args\.(\w+)([^:\s]*)/.exec(message) ?? []
  if (place === '') return message
  const typed = readableOptions(argv)
  const option = optionTyped(name, typed)
  // It may name others: of two that do not go together one is to be left out.
  const others = message.slice(place.length).replace(/\b[a-z]+[A-Z]\w*/g, (other) => {
    const named = optionTyped(other, typed)
    return named === undefined ? other : `--${named}`
  })
  if (option !== undefined) return `--${option}${option === 'head-learning-rate' ? '' : rest}${others}`
  const isSet = typed.some(
    (text, i) => text.startsWith(`--set=${name}=`) || (typed[i - 1] === '--set' && text.startsWith(`${name}=`))
  )
  return isSet ? `--set ${message.slice('args.'.length)}` : message
}

/** The option that an argument was given by. */
function optionTyped(name: string, typed: readonly string[]): string | undefined {
  const plain = [...plainOptions].filter(([, argument]) => argument === name).map(([option]) => option)
  const own = Object.hasOwn(optionOf, name) ? [optionOf[name] as string] : []
  return [...plain, ...own, ...(alsoOf[name] ?? [])].find((one) => isTyped(typed, one))
}

const isTyped = (typed: readonly string[], option: string): boolean =>
  typed.some((text) => [`--${option}`, `--no-${option}`].includes(text) || text.startsWith(`--${option}=`))
