/**
 * Activation names, as `transformers` knows them; the numbers live in the native core.
 * gelu is the exact one (erf); gelu_new and gelu_pytorch_tanh are its tanh approximation; swish is silu.
 */
export const activations = [
  'relu',
  'gelu',
  'gelu_new',
  'gelu_fast',
  'gelu_10',
  'gelu_python',
  'gelu_pytorch_tanh',
  'gelu_python_tanh',
  'gelu_accurate',
  'quick_gelu',
  'laplace',
  'leaky_relu',
  'linear',
  'mish',
  'prelu',
  'relu2',
  'relu6',
  'sigmoid',
  'silu',
  'swish',
  'tanh',
  'xielu'
] as const

export type Activation = (typeof activations)[number]

/** What an adapter may use: every activation, and the adapter library's own spelling of leaky_relu. */
export const nonLinearities = [...activations, 'leakyrelu'] as const

export type NonLinearity = (typeof nonLinearities)[number]

/** Numbers that the activation itself learns. */
export function activationParameters(name: NonLinearity): number {
  if (name === 'prelu') return 1
  return name === 'xielu' ? 2 : 0
}
