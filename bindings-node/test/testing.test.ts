/** The local DDS of `posemesh-node/testing`. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { PosemeshNode } from 'posemesh-node'
import { type Endpoint, Fault, LocalDds } from 'posemesh-node/testing'
import { HANG_MS, PACKAGE, localDds, newKey, startNode, until } from './support.js'

const wait = { timeoutMs: HANG_MS }

/** The names that every language has, in snake_case and without units. */
const surface = JSON.parse(readFileSync(join(PACKAGE, '../tests/dev-dds/surface.json'), 'utf8')) as Record<
  string,
  string[]
>
const snakeCase = (name: string) =>
  name.replace(/(?<=[a-z])(Ms|Secs)$/, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const camelCase = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
const sorted = (names: string[]) => names.map(snakeCase).sort()

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

  it('finds its own node if another one has the same wallet', async (t) => {
    const [first, second] = [await localDds(t, { secret: 'first' }), await localDds(t, { secret: 'second' })]
    const options = { secp256k1Privhex: newKey(), callbackBind: '127.0.0.1:0' }
    const [one, other] = [await startNode(t, first, options), await startNode(t, second, options)]
    assert.deepEqual([await one.waitSecret(wait), await other.waitSecret(wait)], ['first', 'second'])
  })

  it('calls a registered node back when its URL becomes known', async (t) => {
    const dds = await localDds(t)
    await dds.setNodeUrl(null)
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0' })
    await node.waitRegistered(wait)
    assert.equal(await dds.lastSecret(), null)
    await dds.setNodeUrl(`http://${node.callbackAddress}`)
    assert.equal(await node.waitSecret(wait), await dds.lastSecret())
  })

  it('returns options for a node', async (t) => {
    const dds = await localDds(t)
    const node = await PosemeshNode.start(dds.options({ nodeVersion: '2.0.0' }))
    t.after(() => node.stop())
    await node.waitRegistered(wait)
    assert.deepEqual((await dds.nodes()).map(({ version, online }) => [version, online]), [['2.0.0', true]])
  })

  it('forgets a node and revokes its tokens', async (t) => {
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
    answer: Fault.answer(418, { headers: { 'x-test': '1' } }),
    pairs: Fault.answer(418, { headers: [['x-test', '1']] }),
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

  it('has the names that the other languages have', async (t) => {
    const unknown = await LocalDds.start({ nonsense: 1 } as object).catch((error: Error) => error.message)
    const [, options] = /the options are (.*)$/.exec(unknown as string) ?? []
    assert.deepEqual(sorted(options?.split(', ') ?? []), surface['options'])
    assert.deepEqual(sorted(Object.keys(Fault)), surface['faults'])
    const members = Object.getOwnPropertyNames(LocalDds.prototype).filter((name) => name !== 'constructor')
    assert.deepEqual(sorted(['start', ...members]), surface['local_dds'])

    const dds = await localDds(t, { callback: 'never' })
    for (const endpoint of surface['endpoints'] ?? []) {
      await dds.inject(camelCase(endpoint) as Endpoint, Fault.hang())
    }
    await dds.clearFaults()
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0' })
    await node.waitRegistered(wait)
    const [request] = await dds.requests('challenge')
    assert.deepEqual(request?.json(), { wallet: node.walletAddress })
    assert.deepEqual(sorted(Object.getOwnPropertyNames(request)), surface['dds_request'])
    assert.deepEqual(sorted(Object.keys((await dds.nodes())[0] ?? {})), surface['registered_node'])
    assert.deepEqual(sorted(Object.keys(await dds.callBack())), surface['callback_outcome'])
  })

  it('registers robots', async (t) => {
    const dds = await localDds(t, { tokenClaims: { assigned_domain_id: 'home', node_mode: null } })
    const post = async (endpoint: string, body: object) => {
      const answer = await fetch(dds.url + endpoint, { method: 'POST', body: JSON.stringify(body) })
      return (await answer.json()) as Record<string, string>
    }
    const registration = { registration_credentials: 'robot', version: '1.0.0', capabilities: [] }
    await dds.inject('registerRobot', Fault.patch({ robot_id: null, access_expires_at: 'never' }))
    const patched = await post('/internal/v1/robots/register', registration)
    assert.deepEqual([patched['robot_id'], patched['access_expires_at']], [undefined, 'never'])
    const answer = await post('/internal/v1/robots/register', registration)
    const claims = JSON.parse(Buffer.from(answer['access_token']?.split('.')[1] ?? '', 'base64url').toString())
    assert.deepEqual([claims.node_type, claims.assigned_domain_id, claims.node_mode], ['robot', 'home', undefined])
    assert.equal((await dds.requests('registerRobot')).length, 2)
    const [robot] = await dds.nodes()
    assert.deepEqual([robot?.wallet, robot?.nodeId, robot?.url], [null, answer['robot_id'], null])
    await dds.forget(answer['robot_id'])
    assert.deepEqual(await dds.nodes(), [])
  })

  it('issues tokens as its options say', async (t) => {
    const dds = await localDds(t, { tokenFormat: 'opaque', tokenIdentity: false })
    const node = await startNode(t, dds)
    const token = await node.accessToken(wait)
    assert.equal(token.claims, undefined)
    assert.ok(await dds.acceptsToken(token))
  })

  it('gives a private key only to a node that needs one', async (t) => {
    const dds = await localDds(t)
    assert.ok('secp256k1Privhex' in dds.options())
    for (const overrides of [{ identity: 'robot' }, { secp256k1KeystoreFile: 'key.json' }, { signer: {} }]) {
      assert.ok(!('secp256k1Privhex' in dds.options(overrides as object)), JSON.stringify(overrides))
    }
  })

  it('rejects options that it cannot use', async () => {
    const nonsense: [options: object, name: string, code: string, message: RegExp][] = [
      [{ nonsense: 1 }, 'TypeError', 'ERR_INVALID_ARG_VALUE', /unknown option "nonsense"; the options are nodeUrl, /],
      [{ nodeURL: 'http://127.0.0.1:1' }, 'TypeError', 'ERR_INVALID_ARG_VALUE', /unknown option "nodeURL"; .*; did you mean nodeUrl\?$/],
      [{ nodeUrl: 8080 }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^nodeUrl must be a string, got number/],
      [{ secret: null }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^secret must be a string, got null/],
      [{ credentials: {} }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^credentials must be a string, got object/],
      [{ secret: '\ud800' }, 'TypeError', 'ERR_INVALID_ARG_VALUE', /^secret has a lone surrogate/],
      [{ tokenFormat: 'paper' }, 'TypeError', 'ERR_INVALID_ARG_VALUE', /^tokenFormat must be one of jwt, opaque/],
      [{ tokenIdentity: 1 }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^tokenIdentity must be a boolean/],
      [{ tokenClaims: [] }, 'TypeError', 'ERR_INVALID_ARG_TYPE', /^tokenClaims must be an object/],
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
    const unknown = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }
    const endpoint = { ...unknown, message: /^endpoint must be one of challenge, register, verify, registerUrl, / }
    await assert.rejects(dds.inject('registr' as never, Fault.hang()), endpoint)
    await assert.rejects(dds.requests('registr' as never), endpoint)
    await assert.rejects(dds.waitForRequests('registr' as never), endpoint)
    const message = /^fault\.fault must be one of status, .*halfBody, /
    await assert.rejects(dds.inject('register', { fault: 'hangs' } as never), { ...unknown, message })
    await dds.stop()
    await dds.stop()
  })
})
