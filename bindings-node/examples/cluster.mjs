// One node for each worker of a cluster, each with a wallet of its own: DDS knows a node by its wallet, and two
// processes with the same one would take the registration from each other.
import cluster from 'node:cluster'
import process from 'node:process'

import { PosemeshNode } from 'posemesh-node'

if (cluster.isPrimary) {
  const keys = (process.env.WALLET_KEYS ?? '').split(',')
  for (const key of keys) cluster.fork({ SECP256K1_PRIVHEX: key })
  cluster.on('exit', (worker, code) => console.log(`worker ${worker.id} ended with ${code}`))
  process.once('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.send('stop')
  })
} else {
  const node = await PosemeshNode.fromEnv({ nodeVersion: '1.0.0' })
  process.once('message', async () => {
    await node.stop()
    process.disconnect()
  })
  await node.waitRegistered()
  console.log(`worker ${cluster.worker?.id}: ${node.walletAddress} is registered`)
}
