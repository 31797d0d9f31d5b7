/** The local DDS of `posemesh-node/testing`. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { HANG_MS, localDds, newKey, startNode } from './support.js'

const wait = { timeoutMs: HANG_MS }

describe('a local DDS', () => {
  for (const callback of ['afterAnswer', 'beforeAnswer'] as const) {
    for (const callbackBind of ['127.0.0.1:0', '0.0.0.0:0', '[::1]:0']) {
      it(`finds a node of the same process at ${callbackBind} and calls it back, ${callback}`, async (t) => {
        const dds = await localDds(t, { callback })
        const node = await startNode(t, dds, { callbackBind })
        assert.equal(await node.waitSecret(wait), await dds.lastSecret())
        assert.equal(await dds.probeHealth(), 200)
      })
    }
  }

  it('finds its own node, though another one has the same wallet', async (t) => {
    const [first, second] = [await localDds(t, { secret: 'first' }), await localDds(t, { secret: 'second' })]
    const options = { secp256k1Privhex: newKey(), callbackBind: '127.0.0.1:0' }
    const [one, other] = [await startNode(t, first, options), await startNode(t, second, options)]
    assert.deepEqual([await one.waitSecret(wait), await other.waitSecret(wait)], ['first', 'second'])
  })

  it('calls a registered node back as soon as it knows where', async (t) => {
    const dds = await localDds(t)
    await dds.setNodeUrl(null)
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0' })
    await node.waitRegistered(wait)
    assert.equal(await dds.lastSecret(), null)
    await dds.setNodeUrl(`http://${node.callbackAddress}`)
    assert.equal(await node.waitSecret(wait), await dds.lastSecret())
  })
})
