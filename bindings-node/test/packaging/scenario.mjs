// A registration and an access token, against a local DDS.
import { PosemeshNode } from 'posemesh-node'
import { LocalDds } from 'posemesh-node/testing'

export async function scenario() {
  const dds = await LocalDds.start()
  const node = await PosemeshNode.start({
    ddsBaseUrl: dds.url,
    regSecret: 'credentials',
    secp256k1Privhex: '55'.repeat(32),
    capabilities: ['/test/v1'],
    nodeVersion: '1.0.0',
  })
  await node.waitRegistered({ timeoutMs: 30_000 })
  await node.accessToken({ timeoutMs: 30_000 })
  const { state } = node.status()
  await node.stop()
  await dds.stop()
  return state
}
