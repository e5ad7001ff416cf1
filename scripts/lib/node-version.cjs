// Whether this Node is new enough, in words that the oldest one understands: it runs before any module that is newer.
//   node scripts/lib/node-version.cjs

const { node } = require('../../package.json').engines
const wanted = /(\d+)\.(\d+)/.exec(node)

/** What is wrong with a version, or undefined. */
function problem(version) {
  const have = /^(\d+)\.(\d+)/.exec(version)
  const [major, minor] = [have[1] - wanted[1], have[2] - wanted[2]]
  if (major > 0 || (major === 0 && minor >= 0)) return undefined
  return (
    `Node.js ${wanted[0]} or newer is needed (package.json, engines), but this is ${version} at ${process.execPath}. ` +
    'Install a current one: https://nodejs.org/en/download, or "nvm install 22".'
  )
}

exports.problem = problem

if (require.main === module) {
  const found = problem(process.versions.node)
  if (found !== undefined) {
    console.error(`\n${found}\n`)
    process.exit(1)
  }
}
