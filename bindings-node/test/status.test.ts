import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, it } from 'node:test'
import { inspect } from 'node:util'

import { PosemeshError, type Status } from 'posemesh-node'
import { HANG_MS, localDds, startNode } from './support.js'

const wait = { timeoutMs: HANG_MS }

describe('a status', () => {
  it('is the same object until something changes', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0', callbackPolicy: 'open' })
    await node.waitSecret(wait)
    await node.waitRegistered(wait)

    const seen: Status[] = [node.status()]
    const changed = () => {
      const status = node.status()
      assert.notEqual(status, seen.at(-1))
      assert.equal(node.status(), status)
      seen.push(status)
    }
    assert.equal(node.status(), seen[0])
    assert.equal(node.status().callbackOverdue, false)
    await dds.setSecret(null)
    await dds.callBack()
    changed()
    await dds.probeHealth()
    changed()
    await node.accessToken(wait)
    changed()
    await node.stop()
    changed()
    assert.deepEqual(
      seen.map(({ state, running, secretVersion, lastHealthcheck, tokenExpiresAt }) => [
        state,
        running,
        secretVersion,
        lastHealthcheck !== null,
        tokenExpiresAt !== null,
      ]),
      [
        ['registered', true, 1, false, false],
        ['registered', true, 2, false, false],
        ['registered', true, 2, true, false],
        ['registered', true, 2, true, true],
        ['disconnected', false, 2, true, false],
      ],
    )
  })

  it('changes while the program does not return to the event loop', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const deadline = performance.now() + HANG_MS
    const registered = (attempts: number) => {
      const status = node.status()
      return status.state === 'registered' && status.attempts === attempts
    }
    // The loop does not yield to the event loop.
    while (!registered(1)) assert.ok(performance.now() < deadline)
    node.rearm()
    while (!registered(2)) assert.ok(performance.now() < deadline)
  })

  it('is a plain object that cannot be modified', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    await node.waitRegistered(wait)
    const status = node.status()
    const { registeredAt } = status
    assert.ok(Object.isFrozen(status) && registeredAt)
    const names = 'state running hasSecret secretVersion lastHealthcheck registeredAt attempts consecutiveFailures ' +
      'lastError nextAttemptInMs role persistenceError tokenExpiresAt signInFailures clockSkewMs nodeId callbackOverdue'
    assert.equal(Object.keys(status).join(' '), names)

    const copy = { ...status }
    assert.deepEqual(copy, status)
    assert.deepEqual(structuredClone(status), copy)
    assert.deepEqual(JSON.parse(JSON.stringify(status)), { ...copy, registeredAt: registeredAt.toISOString() })
    assert.equal(inspect(status), inspect(copy))
    assert.equal(inspect([status], { depth: 0 }), '[ [Object] ]')

    registeredAt.setFullYear(1970)
    assert.equal(node.status(), status)
    assert.deepEqual(status, copy)
  })

  it('counts down to the next attempt, and has a new error object each time', async (t) => {
    const dds = await localDds(t)
    await dds.inject('register', { fault: 'status', code: 401, body: 'unknown credentials' }, 1000)
    const node = await startNode(t, dds)
    await once(node, 'attemptFailed')
    const first = node.status()
    assert.ok(first.lastError instanceof PosemeshError && first.lastError === first.lastError)
    assert.ok(first.nextAttemptInMs !== null)
    const deadline = performance.now() + HANG_MS
    while ((node.status().nextAttemptInMs ?? 0) >= first.nextAttemptInMs) assert.ok(performance.now() < deadline)
    assert.notEqual(node.status().lastError, first.lastError)
  })
})
