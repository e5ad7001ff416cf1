// Formats everything that npm test checks: biome with its safe fixes, clang-format.
import { biome, clangFormat } from './lib/style.mjs'
import { main } from './lib/terminal.mjs'

await main(async () => {
  await biome(true)
  await clangFormat(true)
})
