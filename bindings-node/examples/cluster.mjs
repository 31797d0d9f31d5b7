// Four workers that are one node. They share STATE_DIR, a directory on this machine. One of them is the leader: it
// registers and receives the callbacks, and all of them have the secret. When the leader ends for any reason, another
// worker takes over.
import cluster from 'node:cluster'
import process from 'node:process'

import { PosemeshNode } from 'posemesh-node'

if (cluster.isPrimary) {
  let stopping = false
  for (let i = 0; i < 4; i++) cluster.fork()
  cluster.on('exit', (worker, code, signal) => {
    console.log(`worker ${worker.id} ended with ${signal ?? code}`)
    if (!stopping) cluster.fork()
  })
  process.once('SIGTERM', () => {
    stopping = true
    for (const worker of Object.values(cluster.workers ?? {})) worker?.send('stop')
  })
} else {
  const name = `worker ${cluster.worker?.id}`
  const node = await PosemeshNode.fromEnv({ nodeVersion: '1.0.0' })
  process.once('message', async () => {
    await node.stop()
    process.disconnect()
  })
  try {
    await node.waitRegistered()
    console.log(`${name}, a ${node.status().role}, is registered; callbacks go to ${node.callbackAddress}`)
    const secret = await node.waitSecret()
    console.log(`${name} has the secret, ${secret.length} characters`)
  } catch (error) {
    if (error.code !== 'ERR_STOPPED') throw error
  }
}
