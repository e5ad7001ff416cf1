import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { checkDevice } from '../model/options.js'
import { type LoadedAddon, loadedAddon } from '../native/addon.js'
import { explainSearch, findLibTorch, type LibTorch, type LibTorchRejection } from '../native/libtorch.js'
import { hasNvidiaDriver, oldNodeReason, packageJson, platformKey, unsupportedReason } from '../native/platform.js'
import type { SystemInfo, TrunkTimes, TrunkType } from '../native/types.js'
import { parseCommand } from './arguments.js'
import { printJson } from './output.js'

export const summary = 'tell which libtorch is used, from where, and what this machine offers'

const usage = `Usage: torch-adapters doctor [--probe] [--json]

Looks for libtorch, loads it and the addon, and says what works and what does not.
Exit status: 0 if everything loads, 1 if not.

  --probe  also times products of BERT-base's sizes with matrices in float32 and in bfloat16, and says which of them
           --trunk auto takes; under a second
  --json   the same as one JSON object
  --help   this text
`

interface Diagnosis {
  readonly package: { readonly version: string; readonly needs: string }
  readonly node: string
  readonly platform: string
  readonly libtorch: (Pick<LibTorch, 'path' | 'version' | 'source'> & { readonly build: 'cpu' | 'cuda' }) | null
  readonly addon: string | null
  readonly threads: number | null
  /** Processors that this process may use. */
  readonly processors: number
  /** Kernels that libtorch chose, such as AVX512. */
  readonly cpuCapability: string | null
  /** Instruction sets of the processor that matter for speed. */
  readonly instructionSets: readonly string[]
  readonly devices: readonly string[]
  /** Of a model that names none, where TORCH_ADAPTERS_DEVICE is set: what it says. */
  readonly defaultDevice: string | null
  /** Why there is no CUDA device. */
  readonly cuda: string | null
  /** Places that were looked at before the one that fits, and why they did not. */
  readonly rejected: readonly LibTorchRejection[]
  /** With --probe: milliseconds of the same products both ways, and what 'auto' takes. */
  readonly trunk?: TrunkTimes & { readonly auto: TrunkType }
  readonly problems: readonly string[]
}

function diagnose(): Diagnosis {
  const problems: string[] = []
  const unsupported = unsupportedReason()
  if (unsupported) problems.push(unsupported)
  const oldNode = oldNodeReason(process.versions.node)
  if (oldNode !== undefined) problems.push(oldNode)
  const search = findLibTorch()
  const libtorch = search.found
  if (!libtorch) problems.push(`no libtorch that fits. ${explainSearch(search)}`)
  let loaded: LoadedAddon | undefined
  let system: SystemInfo | undefined
  try {
    loaded = loadedAddon()
    system = loaded.addon.systemInfo()
  } catch (error) {
    if (libtorch) problems.push((error as Error).message)
  }
  const devices = system?.devices ?? []
  const defaultDevice = process.env['TORCH_ADAPTERS_DEVICE'] || null
  const wrongDevice = defaultDevice === null ? undefined : whyNotDevice(defaultDevice, devices)
  if (wrongDevice !== undefined) problems.push(wrongDevice)
  return {
    package: { version: packageJson.version, needs: `libtorch ${packageJson.libtorch.version}` },
    node: process.versions.node,
    platform: platformKey,
    libtorch: libtorch
      ? {
          path: libtorch.path,
          version: libtorch.version,
          source: libtorch.source,
          build: libtorch.cuda ? 'cuda' : 'cpu'
        }
      : null,
    addon: loaded?.file ?? null,
    threads: system?.threads ?? null,
    processors: availableParallelism(),
    cpuCapability: system?.cpuCapability ?? null,
    instructionSets: instructionSets(),
    devices,
    defaultDevice,
    cuda: devices.some((device) => device.startsWith('cuda')) ? null : whyNoCuda(libtorch, loaded),
    rejected: search.rejected,
    problems
  }
}

function whyNotDevice(named: string, devices: readonly string[]): string | undefined {
  try {
    const device = checkDevice(named, 'TORCH_ADAPTERS_DEVICE')
    const there = device === 'auto' || devices.includes(device === 'cuda' ? 'cuda:0' : device)
    if (there || devices.length === 0) return undefined
    return `TORCH_ADAPTERS_DEVICE says ${device}, and there is ${devices.join(', ')} alone: correct it, or unset it`
  } catch (error) {
    return (error as Error).message
  }
}

function whyNoCuda(libtorch: LibTorch | undefined, loaded: LoadedAddon | undefined): string {
  if (!hasNvidiaDriver()) return 'no NVIDIA driver on this machine'
  if (libtorch && !libtorch.cuda)
    return 'a driver is here, but this libtorch is a CPU build: run "torch-adapters install-libtorch --cuda"'
  if (loaded?.cudaProblem)
    return `a driver is here, but libtorch's CUDA part could not be opened: ${loaded.cudaProblem}`
  return 'a driver is here, but libtorch sees no device: is the driver too old for this build, or CUDA_VISIBLE_DEVICES empty?'
}

const notable = [
  'avx2',
  'fma',
  'f16c',
  'avx512f',
  'avx512_vnni',
  'avx512_bf16',
  'avx_vnni',
  'amx_tile',
  'amx_bf16',
  'amx_int8',
  'asimd',
  'bf16',
  'i8mm',
  'sve'
]

function instructionSets(): string[] {
  try {
    const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? ''
    const flags = new Set(line.split(' '))
    return notable.filter((name) => flags.has(name))
  } catch {
    return [] // only Linux has that file
  }
}

function text(diagnosis: Diagnosis): string {
  const { libtorch, problems } = diagnosis
  const rows: [string, string][] = [
    ['package', `${diagnosis.package.version}, made for ${diagnosis.package.needs}`],
    ['node', `${diagnosis.node} on ${diagnosis.platform}`],
    ['libtorch', libtorch ? `${libtorch.version} (${libtorch.build}) at ${libtorch.path}` : 'none'],
    ['found by', libtorch ? libtorch.source : '-'],
    ['addon', diagnosis.addon ?? 'not loaded'],
    ['threads', `${diagnosis.threads ?? '-'} on ${diagnosis.processors} processors`],
    ['kernels', diagnosis.cpuCapability ?? '-'],
    ['instructions', diagnosis.instructionSets.join(' ') || 'not known here'],
    ['devices', diagnosis.devices.join(', ') || 'none'],
    ...(diagnosis.defaultDevice === null
      ? []
      : [['by default', `${diagnosis.defaultDevice}, which TORCH_ADAPTERS_DEVICE says`] satisfies [string, string]]),
    ['cuda', diagnosis.cuda ?? 'usable'],
    ...(diagnosis.trunk === undefined ? [] : [['trunk', probeText(diagnosis.trunk)] satisfies [string, string]]),
    ...diagnosis.rejected.map(({ path, reason }): [string, string] => ['passed over', `${path}: ${reason}`])
  ]
  const lines = rows.map(([name, value]) => `${name.padEnd(13)} ${value}`)
  const verdict =
    problems.length === 0 ? ['', 'Everything loads.'] : ['', ...problems.map((problem) => `Problem: ${problem}`)]
  if (!libtorch) {
    const isSet = Boolean(process.env['LIBTORCH'])
    verdict.push(isSet ? 'Correct LIBTORCH, or unset it.' : 'Run "torch-adapters install-libtorch" to fetch one.')
  }
  return `${[...lines, ...verdict].join('\n')}\n`
}

const probeText = ({ float32, bfloat16, auto }: NonNullable<Diagnosis['trunk']>): string =>
  `auto takes ${auto}: bfloat16 ${bfloat16.toFixed(1)} ms, float32 ${float32.toFixed(1)} ms`

/** Of the first device. */
async function probed(diagnosis: Diagnosis): Promise<Diagnosis> {
  if (diagnosis.addon === null) return diagnosis
  const { fasterTrunk, probeTrunk } = await import('../model/trunk.js')
  const device = diagnosis.devices.find((name) => name.startsWith('cuda')) ?? 'cpu'
  const times = await probeTrunk({ hiddenSize: 768, intermediateSize: 3072 }, device)
  return { ...diagnosis, trunk: { ...times, auto: fasterTrunk(times) } }
}

export async function run(argv: string[]): Promise<number> {
  const { values } = parseCommand(argv, {
    probe: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false }
  })
  if (values.help) {
    process.stdout.write(usage)
    return 0
  }
  const diagnosis = values.probe ? await probed(diagnose()) : diagnose()
  if (values.json) printJson(diagnosis)
  else process.stdout.write(text(diagnosis))
  return diagnosis.problems.length === 0 ? 0 : 1
}
