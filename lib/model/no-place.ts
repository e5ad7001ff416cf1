import { AdapterError } from '../native/errors.js'
import type { ModuleInfo } from '../native/types.js'

/** That a module of an exported network has no place for surgery, with the reason that its graph shows; others as they are. */
export function withReason(error: unknown, modules: () => readonly ModuleInfo[]): unknown {
  if (!(error instanceof AdapterError) || !error.problem.includes('does not map tokens to tokens by itself'))
    return error
  const found = modules().find(({ path }) => error.got === `'${path}'`)
  // Modules inside or around it that have a place are what the error names.
  if (found === undefined || error.expected?.startsWith('one of')) return error
  const { path, type } = found
  return new AdapterError(
    error.code,
    error.operation,
    `'${path}' (${type}) has no place for another module: ${why(found)}`,
    {
      expected: 'a module that takes and gives a value for each token that comes out of the network',
      hint: 'namedModules(pattern, { shapes: true }) lists what modules take and give; LoRA stands at Linears of other tokens, too.',
      cause: error
    }
  )
}

function why({ calls, inputs, outputs }: ModuleInfo): string {
  if (calls === 0) return 'the graph has no call of it (what torch.cond calls is in a graph of its own)'
  const listed = (shapes: ModuleInfo['inputs']) =>
    shapes.map((sizes) => `[${sizes.join(', ')}]`).join(' and ') || 'no tensor'
  return `it takes ${listed(inputs)} and gives ${listed(outputs)}`
}
