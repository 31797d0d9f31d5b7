// What a held access token costs, compared with the calls around it.
//
//     node benchmarks/token-cost.mjs [rounds]
//
// Each figure is the CPU time of this process for one call, the minimum over the rounds. The two sides of a comparison take
// turns. The HTTP server has its own process. Use a release build of the addon.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import process from 'node:process'

import { PosemeshNode, authorizedFetch } from 'posemesh-node'
import { LocalDds } from 'posemesh-node/testing'

const ROUNDS = Number(process.argv[2] ?? 15)
const CALLS = 100_000
const REQUESTS = 500

const SERVER = `
const server = require('node:http').createServer((_, response) => response.end('ok'))
server.listen(0, '127.0.0.1', () => console.log(server.address().port))`

/** The CPU time of one call, in microseconds. */
async function measure(call, times) {
  const { user, system } = process.cpuUsage()
  await call(times)
  const used = process.cpuUsage()
  return (used.user - user + used.system - system) / times
}

async function compare([what, ours, times], [base, theirs, theirTimes = times], goal) {
  const best = [Infinity, Infinity]
  for (let round = 0; round <= ROUNDS; round++) {
    const costs = [await measure(ours, times), await measure(theirs, theirTimes)]
    // The first round warms up.
    if (round > 0) costs.forEach((cost, side) => (best[side] = Math.min(best[side], cost)))
  }
  const [cost, baseCost] = best
  const ratio = cost / baseCost
  console.log(
    `${what.padEnd(28)} ${cost.toFixed(3).padStart(9)} us  ${ratio.toFixed(3)} x ${base} (${baseCost.toFixed(3)} us; goal ${goal})`,
  )
}

async function empty() {}

const server = spawn(process.execPath, ['-e', SERVER], { stdio: ['ignore', 'pipe', 'inherit'] })
const [port] = await once(server.stdout, 'data')
const url = `http://127.0.0.1:${String(port).trim()}/`
const dds = await LocalDds.start()
const node = await PosemeshNode.start(dds.options())
await node.accessToken({ timeoutMs: 60_000 })

const emptyFunction = async (times) => {
  for (let n = 0; n < times; n++) await empty()
}
const status = (times) => {
  for (let n = 0; n < times; n++) node.status()
}
const requests = async (times) => {
  for (let n = 0; n < times; n++) await (await fetch(url)).text()
}
// What it adds to a request, which is less than the noise of one.
const response = new Response()
const withoutRequest = authorizedFetch(node, { fetch: async () => response })
const limits = { timeoutMs: 60_000 }
await compare(
  [
    'await accessToken()',
    async (times) => {
      for (let n = 0; n < times; n++) await node.accessToken()
    },
    CALLS,
  ],
  ['an empty async function', emptyFunction],
  3,
)
await compare(
  [
    'await accessToken(limits)',
    async (times) => {
      for (let n = 0; n < times; n++) await node.accessToken(limits)
    },
    CALLS,
  ],
  ['an empty async function', emptyFunction],
  'none',
)
await compare(
  [
    'tryAccessToken()',
    (times) => {
      for (let n = 0; n < times; n++) node.tryAccessToken()
    },
    CALLS,
  ],
  ['status()', status],
  'none',
)
await compare(
  [
    'authorizedFetch, added',
    async (times) => {
      for (let n = 0; n < times; n++) await withoutRequest(url)
    },
    CALLS,
  ],
  ['fetch', requests, REQUESTS],
  0.05,
)

await node.stop()
await dds.stop()
server.kill()
