// npm run quickstart: sets the clone up, then does the main job on real text.
//   npm run quickstart -- --help
import { argv } from 'node:process'
import { main } from './lib/terminal.mjs'
import { checkPaths, readOptions } from './quickstart/options.mjs'
import { setup } from './setup.mjs'

await main(async () => {
  const options = readOptions(argv.slice(2))
  if (typeof options === 'string') return console.log(options)
  checkPaths(options)
  await setup()
  const { quickstart } = await import('./quickstart/quickstart.mjs')
  await quickstart(options)
})
