/** The local DDS of `posemesh-node/testing`. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { PosemeshNode } from 'posemesh-node'
import { Fault, LocalDds } from 'posemesh-node/testing'
import { HANG_MS, localDds, newKey, startNode, until } from './support.js'

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

  it('has options for a node', async (t) => {
    const dds = await localDds(t)
    const node = await PosemeshNode.start(dds.options({ nodeVersion: '2.0.0' }))
    t.after(() => node.stop())
    await node.waitRegistered(wait)
    assert.deepEqual((await dds.nodes()).map(({ version, online }) => [version, online]), [['2.0.0', true]])
  })

  it('forgets a node and its tokens', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const token = await node.accessToken(wait)
    assert.ok((await dds.acceptsToken(token)) && (await dds.acceptsToken(token.value)))
    await dds.forget(node.walletAddress)
    assert.deepEqual(await dds.nodes(), [])
    assert.ok(!(await dds.acceptsToken(token)))
  })

  for (const [name, fault] of Object.entries({
    status: Fault.status(503, { retryAfter: '1', body: 'busy' }),
    answer: Fault.answer(418, { headers: [['x-test', '1']] }),
    redirect: Fault.redirect('http://127.0.0.1:1/'),
    reset: Fault.reset(),
    halfBody: Fault.halfBody(),
    notHttp: Fault.notHttp(),
    garbage: Fault.garbage(),
    invalidUtf8: Fault.invalidUtf8(),
    endlessBody: Fault.endlessBody(),
  })) {
    it(`has the fault ${name}, until it is cleared`, async (t) => {
      const dds = await localDds(t)
      await dds.inject('challenge', fault, null)
      const node = await startNode(t, dds, { registerIntervalSecs: 1 })
      await until(() => node.status().lastError !== null)
      await dds.clearFaults()
      await node.waitRegistered(wait)
    })
  }

  it('takes no nonsense', async () => {
    const nonsense: [options: object, name: string, code: string, message: RegExp][] = [
      [{ nonsense: 1 }, 'TypeError', 'ERR_INVALID_ARG_VALUE', /unknown option "nonsense"; the options are nodeUrl, /],
      [{ nodeURL: 'http://127.0.0.1:1' }, 'TypeError', 'ERR_INVALID_ARG_VALUE', /unknown option "nodeURL"/],
      [{ nodeUrl: 8080 }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^nodeUrl must be a string, got number/],
      [{ secret: null }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^secret must be a string, got null/],
      [{ credentials: {} }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^credentials must be a string, got object/],
      [{ callback: 'sometimes' }, 'TypeError', 'ERR_INVALID_ARG_VALUE', /^callback must be one of afterAnswer, /],
      [{ healthIntervalMs: '1' }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^healthIntervalMs must be a number/],
      [{ healthIntervalMs: 0 }, 'RangeError', 'ERR_OUT_OF_RANGE', /^healthIntervalMs must be a whole number from 1 /],
      [{ nonceLifetimeMs: -1 }, 'RangeError', 'ERR_OUT_OF_RANGE', /^nonceLifetimeMs must be /],
      [{ tokenLifetimeMs: 1.5 }, 'RangeError', 'ERR_OUT_OF_RANGE', /^tokenLifetimeMs must be .*, got 1.5$/],
      [{ clockOffsetSecs: Number.NaN }, 'RangeError', 'ERR_OUT_OF_RANGE', /^clockOffsetSecs must be .*, got NaN$/],
    ]
    for (const [options, name, code, message] of nonsense) {
      await assert.rejects(LocalDds.start(options), { name, code, message }, JSON.stringify(options))
    }
    await assert.rejects(LocalDds.start(5 as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
    const dds = await LocalDds.start({ secret: undefined })
    for (const fault of [undefined, null, 'hang', {}, Fault.hang]) {
      const message = /^fault must be an object such as Fault.hang\(\)/
      await assert.rejects(dds.inject('challenge', fault as never), { code: 'ERR_INVALID_ARG_TYPE', message })
    }
    await dds.stop()
    await dds.stop()
  })
})
