// Access tokens, against the local DDS.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, it } from 'node:test'
import { format, inspect } from 'node:util'

import { AbortError, AccessToken, type PosemeshNode, type RegistrationLostEvent } from 'posemesh-node'
import { HANG_MS, localDds, startNode, until } from './support.js'

const wait = { timeoutMs: HANG_MS }
const FOREVER = 4294967295

describe('an access token', () => {
  // scenario: one-sign-in
  it('follows the registration, from one sign-in for all callers', async (t) => {
    const dds = await localDds(t)
    await dds.inject('challenge', { fault: 'delay', millis: 100 }, 1)
    const node = await startNode(t, dds)
    const refreshed: Date[] = []
    node.on('tokenRefreshed', ({ expiresAt }) => refreshed.push(expiresAt))
    assert.equal(node.status().tokenExpiresAt, null)

    const tokens = await Promise.all(Array.from({ length: 1000 }, () => node.accessToken(wait)))
    tokens.push(await node.accessToken())
    const [token] = tokens
    assert.ok(token instanceof AccessToken)
    assert.ok(await dds.acceptsToken(token.value))
    assert.equal(new Set(tokens.map(({ value }) => value)).size, 1)
    assert.ok(token.expiresAt > new Date())
    const { state, tokenExpiresAt, signInFailures } = node.status()
    assert.deepEqual([state, signInFailures], ['registered', 0])
    assert.equal(tokenExpiresAt?.getTime(), Math.floor(token.expiresAt.getTime() / 1000) * 1000)
    assert.equal((await dds.requests('verify')).length, 1)

    await node.stop()
    assert.deepEqual(refreshed, [token.expiresAt])
  })

  it('has claims about the node if it is a JWT', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds, { maxConcurrency: 3 })
    const token = await node.accessToken(wait)
    const [registered] = await dds.nodes()
    assert.deepEqual(token.claims, {
      node_id: registered?.nodeId,
      capabilities: ['/test/v1'],
      max_concurrency: 3,
    })
    for (const opaque of ['opaque', '', 'a.b.c', '\ud800', 'a.W10.b']) {
      assert.equal(new AccessToken(opaque, new Date()).claims, undefined, opaque)
    }
    assert.equal(JSON.stringify(token), JSON.stringify({ expiresAt: token.expiresAt }))
    assert.doesNotMatch(inspect(token, { getters: true, showHidden: true }), /node_id/)
  })

  it('works through a Proxy, and its Date belongs to the caller', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const token = await node.accessToken(wait)
    const binding: ProxyHandler<AccessToken> = {
      get(object, name) {
        const value: unknown = Reflect.get(object, name)
        return typeof value === 'function' ? value.bind(object) : value
      },
    }
    for (const handler of [{}, binding]) {
      const proxy = new Proxy(token, handler)
      assert.ok(proxy instanceof AccessToken)
      assert.equal(proxy.value, token.value)
      assert.deepEqual([proxy.expiresAt, proxy.claims], [token.expiresAt, token.claims])
      assert.equal(inspect(proxy), inspect(token))
      assert.equal(JSON.stringify(proxy), JSON.stringify(token))
    }
    assert.throws(() => Object.create(AccessToken.prototype).value, { code: 'ERR_INVALID_THIS', message: 'this is not an instance of AccessToken' })

    const { expiresAt } = token
    token.expiresAt.setFullYear(1970)
    assert.deepEqual(token.expiresAt, expiresAt)
    node.invalidateToken(new Proxy(token, {}))
    assert.notEqual((await node.accessToken(wait)).value, token.value)
  })

  it('is not requested before the first call', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    await node.waitRegistered(wait)
    await node.stop()
    assert.deepEqual(await dds.requests('verify'), [])
  })

  // scenario: token-refreshed
  it('is renewed before it expires', async (t) => {
    const dds = await localDds(t, { tokenLifetimeMs: 2000 })
    const node = await startNode(t, dds)
    const first = await node.accessToken(wait)
    await once(node, 'tokenRefreshed')
    // One of the two events is the renewal.
    if ((await node.accessToken(wait)).value === first.value) await once(node, 'tokenRefreshed')
    const second = await node.accessToken(wait)
    assert.notEqual(second.value, first.value)
    assert.ok(second.expiresAt > first.expiresAt)
  })

  // scenario: token-refused
  it('is replaced once if many callers invalidate it', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const first = await node.accessToken(wait)
    node.invalidateToken('another token')
    assert.equal((await node.accessToken(wait)).value, first.value)

    const tokens = await Promise.all(
      Array.from({ length: 100 }, (_, index) => {
        node.invalidateToken(index % 2 ? first : first.value)
        return node.accessToken(wait)
      }),
    )
    const second = tokens[0] as AccessToken
    assert.ok(tokens.every(({ value }) => value === second.value && value !== first.value))
    node.invalidateToken(first)
    assert.equal((await node.accessToken(wait)).value, second.value)
    assert.equal((await dds.requests('verify')).length, 2)

    node.invalidateToken()
    assert.notEqual((await node.accessToken(wait)).value, second.value)
    assert.throws(() => node.invalidateToken(1 as never), /^TypeError: token must be an AccessToken or a string/)
  })

  // scenario: dds-forgets
  it('follows a new registration after DDS has forgotten the node', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const first = await node.accessToken(wait)
    await dds.forget()
    assert.ok(!(await dds.acceptsToken(first.value)))
    const lost = once(node, 'registrationLost') as Promise<[RegistrationLostEvent]>
    node.invalidateToken(first)
    const second = await node.accessToken(wait)
    assert.notEqual(second.value, first.value)
    const [{ reason, at }] = await lost
    assert.match(reason, /node not found/)
    assert.ok(at instanceof Date)
    assert.equal(node.status().state, 'registered')
    assert.equal((await dds.requests('register')).length, 2)
  })
})

describe('tryAccessToken()', () => {
  it('returns the token that the node holds, and never signs in', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    await node.waitRegistered(wait)
    assert.equal(node.tryAccessToken(), undefined)
    const token = await node.accessToken(wait)
    assert.equal(node.tryAccessToken()?.value, token.value)
    assert.equal((await dds.requests('verify')).length, 1)

    // The same object, until something changes.
    const held = node.tryAccessToken()
    assert.equal(node.tryAccessToken(), held)
    assert.equal(await node.accessToken(), held)
    node.rearm()
    await node.waitRegistered(wait)
    assert.equal(node.tryAccessToken()?.value, token.value)
  })

  for (const [how, invalidate] of Object.entries<(node: PosemeshNode, token: AccessToken) => void>({
    'as an object': (node, token) => node.invalidateToken(token),
    'as a string': (node, { value }) => node.invalidateToken(value),
    'as the current one': (node) => node.invalidateToken(),
  })) {
    it(`never returns a token that was invalidated ${how}`, async (t) => {
      const dds = await localDds(t)
      const node = await startNode(t, dds)
      const token = await node.accessToken(wait)
      assert.equal(node.tryAccessToken()?.value, token.value)
      await dds.inject('verify', { fault: 'hang' }, FOREVER)
      invalidate(node, token)
      assert.equal(node.tryAccessToken(), undefined)
      await assert.rejects(node.accessToken({ timeoutMs: 1 }), { code: 'ERR_TIMEOUT' })
    })
  }

  it('never returns a token of a registration that was lost', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const token = await node.accessToken(wait)
    await dds.forget()
    const lost = once(node, 'registrationLost')
    node.invalidateToken(token)
    await lost
    await until(() => node.tryAccessToken() !== undefined)
    assert.notEqual(node.tryAccessToken()?.value, token.value)
    assert.equal(node.status().state, 'registered')
  })

  it('never returns a token that has expired', async (t) => {
    const dds = await localDds(t, { tokenLifetimeMs: 300 })
    // The first sign-in succeeds, and no other.
    await dds.inject('verify', { fault: 'delay', millis: 1 })
    await dds.inject('verify', { fault: 'hang' }, FOREVER)
    const node = await startNode(t, dds)
    await node.accessToken(wait)
    // The loop does not yield to the event loop.
    const deadline = performance.now() + HANG_MS
    while (node.tryAccessToken()) assert.ok(performance.now() < deadline)
    await assert.rejects(node.accessToken({ timeoutMs: 1 }), { code: 'ERR_TIMEOUT' })
  })

  it('returns undefined after a stop', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    await node.accessToken(wait)
    assert.ok(node.tryAccessToken())
    await node.stop()
    assert.equal(node.tryAccessToken(), undefined)
    await assert.rejects(node.accessToken(), { code: 'ERR_STOPPED' })
  })
})

describe('a wait for an access token', () => {
  // scenario: sign-in-refused
  it('ends on a refusal, with the text that DDS sent', async (t) => {
    const dds = await localDds(t)
    await dds.inject('verify', { fault: 'status', code: 403, body: 'not on a Tuesday' }, FOREVER)
    const node = await startNode(t, dds)
    await assert.rejects(node.accessToken(wait), {
      name: 'PosemeshError',
      code: 'ERR_REJECTED',
      message: /not on a Tuesday/,
    })
    assert.equal(node.status().signInFailures, 1)
    assert.equal(node.status().state, 'registered')
  })

  it('times out with the error of the last sign-in', async (t) => {
    const dds = await localDds(t)
    await dds.inject('verify', { fault: 'status', code: 503, body: 'closed for lunch' }, FOREVER)
    const node = await startNode(t, dds)
    await assert.rejects(node.accessToken({ timeoutMs: 1 }), { name: 'PosemeshError', code: 'ERR_TIMEOUT' })
    await until(() => node.status().signInFailures > 0)
    await assert.rejects(node.accessToken({ timeoutMs: 1 }), { code: 'ERR_TIMEOUT', message: /closed for lunch/ })
  })

  it('ends when its signal is aborted', async (t) => {
    const dds = await localDds(t)
    await dds.inject('verify', { fault: 'hang' }, FOREVER)
    const node = await startNode(t, dds)
    const controller = new AbortController()
    const aborted = node.accessToken({ signal: controller.signal })
    const reason = new Error('the user left')
    controller.abort(reason)
    await assert.rejects(aborted, (error) => {
      assert.ok(error instanceof AbortError)
      assert.equal(error.cause, reason)
      return true
    })
    await assert.rejects(node.accessToken({ signal: AbortSignal.abort() }), { name: 'AbortError' })
    await assert.rejects(node.accessToken({ timeoutMs: -1 }), RangeError)
  })

  // scenario: stop-during-wait
  it('ends when the node is stopped', async (t) => {
    const dds = await localDds(t)
    await dds.inject('verify', { fault: 'hang' }, FOREVER)
    const node = await startNode(t, dds)
    const pending = [node.accessToken(), node.accessToken(wait), node.accessToken({ signal: new AbortController().signal })]
    const settled = Promise.allSettled(pending)
    await dds.waitForRequests('challenge', 2)
    await node.stop()
    for (const result of await settled) {
      assert.equal(result.status, 'rejected')
      assert.equal(result.reason.code, 'ERR_STOPPED')
    }
    await assert.rejects(node.accessToken(), { code: 'ERR_STOPPED' })
    assert.throws(() => node.invalidateToken(), { code: 'ERR_STOPPED' })
  })
})

describe('the text of an access token', () => {
  // scenario: secrets-never-shown
  it('does not appear in debug output, JSON, copies, events or logs', async (t) => {
    const dds = await localDds(t)
    const seen: unknown[] = []
    const node = await startNode(t, dds, { logLevel: 'debug' })
    node.on('log', (record) => seen.push(record))
    node.on('tokenRefreshed', (event) => seen.push(event))
    const token = await node.accessToken(wait)
    assert.equal(inspect(token), `AccessToken { expiresAt: ${inspect(token.expiresAt)} }`)
    seen.push(token, format('%s %o %O %j', token, token, token, token), JSON.stringify({ token }), `${token}`)
    seen.push(structuredClone(token), { ...token }, Object.entries(token))
    node.invalidateToken(token)
    const second = await node.accessToken(wait)
    seen.push(second, node, node.status())
    await node.stop()
    seen.push(await node.accessToken().catch((error: unknown) => error))
    assert.ok(seen.length > 12)
    const shown = inspect(seen, { depth: null, showHidden: true, getters: true })
    for (const { value } of [token, second]) assert.ok(!shown.includes(value), shown)
  })
})
