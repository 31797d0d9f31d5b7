// Registers a node and stays registered until Ctrl-C. Options come from the environment: see the README.
import process from 'node:process'

import { PosemeshNode } from 'posemesh-node'

const node = await PosemeshNode.fromEnv({ nodeVersion: '1.0.0', logger: console })
node.on('status', ({ previous, state }) => console.log(`${previous} → ${state}`))
node.on('attemptFailed', ({ error, retryInMs }) => console.log(`${error.code}, next attempt in ${retryInMs} ms`))

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => node.stop())

try {
  await node.waitRegistered()
  console.log(`${node.walletAddress} is registered`)
} catch (error) {
  // A signal has stopped the node before it was registered.
  if (error.code !== 'ERR_STOPPED') throw error
}
