// Registers a node with a local DDS, receives its callback, and gets an access token.
import assert from 'node:assert/strict'
import { PosemeshNode } from 'posemesh-node'
import { LocalDds } from 'posemesh-node/testing'

const dds = await LocalDds.start()
const node = await PosemeshNode.start({
  ddsBaseUrl: dds.url,
  regSecret: Buffer.from('00000000-0000-0000-0000-000000000000:secret').toString('base64'),
  secp256k1Privhex: '01'.repeat(32),
  capabilities: ['/smoke/v1'],
  nodeVersion: '1.0.0',
  callbackBind: '127.0.0.1:0',
})
assert.equal(await node.waitSecret({ timeoutMs: 60_000 }), await dds.lastSecret())
assert.ok(await dds.acceptsToken(await node.accessToken({ timeoutMs: 60_000 })))
await node.stop()
await dds.stop()
console.log(`registered on ${process.arch}`)
