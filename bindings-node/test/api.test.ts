import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'

import {
  METRICS_CONTENT_TYPE,
  AbortError,
  type CoreOptions,
  ErrorCode,
  type LogRecord,
  PosemeshError,
  PosemeshNode,
  type PosemeshNodeOptions,
  type StatusEvent,
  ethAddress,
  signEip191,
} from 'posemesh-node'
import { native } from '../lib/binary.js'
import { call } from '../lib/error.js'
import type { Failure } from '../lib/native.js'
import { HANG_MS, PACKAGE, REG_SECRET, RUNS, localDds, newKey, optionsFor, startNode } from './support.js'

const KEY = '4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90'
const wait = { timeoutMs: HANG_MS }

describe('a node', () => {
  // scenario: register, double-stop, health-probe, events-in-order
  it('registers, receives its secret and stops', async (t) => {
    const dds = await localDds(t, { callback: 'never' })
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0', maxConcurrency: 3 })
    const events: string[] = []
    node.on('status', ({ previous, state, from, to, at, dropped }) => {
      assert.ok(at instanceof Date && dropped === 0)
      // The former names of the two fields.
      assert.deepEqual([from, to], [previous, state])
      events.push(`${previous} → ${state}`)
    })
    node.on('secret', ({ version }) => events.push(`secret ${version}`))
    node.on('healthcheck', () => events.push('healthcheck'))

    await node.waitRegistered(wait)
    await dds.setSecret('a node secret')
    assert.equal(node.readSecret(), null)
    assert.equal((await dds.callBack()).status, 200)
    assert.equal(await node.waitSecret(wait), 'a node secret')
    assert.equal(node.readSecret(), 'a node secret')
    const healthcheck = once(node, 'healthcheck')
    assert.equal(await dds.probeHealth(), 200)
    await healthcheck

    const status = node.status()
    assert.equal(status.state, 'registered')
    assert.deepEqual([status.running, status.hasSecret, status.secretVersion], [true, true, 1])
    assert.ok(status.registeredAt instanceof Date && status.lastHealthcheck instanceof Date)
    assert.deepEqual([status.lastError, status.nextAttemptInMs], [null, null])
    assert.deepEqual([status.role, status.tokenExpiresAt, status.signInFailures], ['leader', null, 0])
    assert.equal(status.clockSkewMs, 0)
    const [registered] = await dds.nodes()
    assert.deepEqual([registered?.maxConcurrency, registered?.capabilities], [3, ['/test/v1']])
    assert.equal(registered?.wallet?.toLowerCase(), node.walletAddress)

    await node.stop()
    await node.stop()
    assert.deepEqual(events, [
      'disconnected → registering',
      'registering → registered',
      'secret 1',
      'healthcheck',
      'registered → disconnected',
    ])
    assert.equal(node.status().running, false)
    assert.equal(node.readSecret(), 'a node secret')
    assert.throws(() => node.rearm(), { name: 'PosemeshError', code: 'ERR_STOPPED' })
  })

  // scenario: rearm
  it('registers again after rearm()', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    await node.waitRegistered(wait)
    const states: string[] = []
    node.on('status', ({ previous, state }) => states.push(`${previous} → ${state}`))
    node.rearm()
    await node.waitRegistered(wait)
    assert.equal((await dds.requests('register')).length, 2)
    await node.stop()
    const again = ['registered → disconnected', 'disconnected → registering', 'registering → registered']
    assert.deepEqual(states.slice(-4), [...again, 'registered → disconnected'])
  })

  it('emits failed attempts with the text that DDS sent', async (t) => {
    const dds = await localDds(t)
    await dds.inject('challenge', { fault: 'status', code: 503, body: 'closed for lunch' }, 1)
    const node = await startNode(t, dds)
    const [event] = await once(node, 'attemptFailed')
    assert.ok(event.error instanceof PosemeshError)
    assert.equal(event.error.code, ErrorCode.Unavailable)
    assert.match(event.error.message, /closed for lunch/)
    assert.ok(Number.isInteger(event.retryInMs) && event.retryInMs >= 0, `${event.retryInMs}`)
    assert.deepEqual(JSON.parse(JSON.stringify(event.error)), {
      name: 'PosemeshError',
      code: 'ERR_UNAVAILABLE',
      message: event.error.message,
    })
    await node.waitRegistered(wait)
  })

  // scenario: dds-refuses
  it('shows a lasting refusal in its status', async (t) => {
    const dds = await localDds(t)
    await dds.inject('register', { fault: 'status', code: 401, body: 'unknown credentials' }, 1000)
    const node = await startNode(t, dds)
    await once(node, 'attemptFailed')
    const { lastError, consecutiveFailures, nextAttemptInMs } = node.status()
    assert.equal(lastError?.code, 'ERR_REJECTED')
    assert.match(lastError.message, /unknown credentials/)
    assert.equal(consecutiveFailures, 1)
    assert.ok(Number.isInteger(nextAttemptInMs) && Number(nextAttemptInMs) > 0, `${nextAttemptInMs}`)
  })

  // scenario: stranger-calls-back
  it('rejects a callback while it is not registering', async (t) => {
    const dds = await localDds(t)
    await dds.inject('register', { fault: 'status', code: 403 }, 1000)
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0' })
    await once(node, 'attemptFailed')
    const { status } = await fetch(`http://${node.callbackAddress}/internal/v1/registrations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ id: 'stranger', secret: 'forged' }),
    })
    assert.equal(status, 409)
    assert.equal(node.readSecret(), null)
  })

  it('serves its readiness and its metrics', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds, { adminBind: '127.0.0.1:0' })
    await node.waitRegistered(wait)
    const get = async (path: string) => (await fetch(`http://${node.adminAddress}${path}`)).text()
    assert.equal(await get('/readyz'), 'registered\n')
    assert.match(await get('/metrics'), /^posemesh_node_state\{state="registered"\} 1$/m)
    const { headers } = await fetch(`http://${node.adminAddress}/metrics`)
    assert.equal(headers.get('content-type'), METRICS_CONTENT_TYPE)
    assert.equal((await startNode(t, dds)).adminAddress, null)
  })

  // scenario: dds-stops-probing
  it('registers again when DDS stops probing it', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0', healthcheckTtlSecs: 1 })
    await node.waitRegistered(wait)
    await dds.setNodeUrl(`http://${node.callbackAddress}`)
    const lost = once(node, 'registrationLost')
    await dds.probeHealth()
    await lost
    await node.waitRegistered(wait)
    assert.equal((await dds.requests('register')).length, 2)
  })

  // scenario: clocks-differ
  it('shows in its status that its clock and that of DDS differ', async (t) => {
    const dds = await localDds(t, { clockOffsetSecs: -120 })
    const node = await startNode(t, dds)
    await node.waitRegistered(wait)
    const { clockSkewMs } = node.status()
    assert.ok(clockSkewMs < -100_000, `${clockSkewMs} ms`)
  })

  // scenario: dropped-without-stop
  it('is stopped by await using', async (t) => {
    const dds = await localDds(t)
    let kept: PosemeshNode
    {
      await using node = await PosemeshNode.start(optionsFor(dds))
      kept = node
    }
    assert.equal(kept.status().running, false)
  })

  it('cannot be constructed with new, and its methods reject other objects', () => {
    assert.throws(() => Reflect.construct(PosemeshNode, []), { name: 'TypeError', code: 'ERR_ILLEGAL_CONSTRUCTOR' })
    for (const other of [{}, undefined, Object.create(PosemeshNode.prototype)]) {
      assert.throws(() => PosemeshNode.prototype.status.call(other as never), {
        name: 'TypeError',
        code: 'ERR_INVALID_THIS',
        message: 'this is not an instance of PosemeshNode',
      })
    }
  })

  it('shows the same in JSON and in debug output, and no internals', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0' })
    await node.waitRegistered(wait)
    // Its status does not change after this.
    await node.waitSecret(wait)
    const { walletAddress, callbackAddress } = node
    const status = JSON.parse(JSON.stringify(node.status()))
    assert.deepEqual(JSON.parse(JSON.stringify({ node })), { node: { walletAddress, callbackAddress, status } })
    for (const shown of [inspect(node), inspect({ node }), inspect(node, { showHidden: true })]) {
      assert.match(shown, new RegExp(`PosemeshNode \\{[^]*${walletAddress}[^]*state: 'registered'`))
      assert.doesNotMatch(shown, /_events|Symbol/)
    }
    assert.equal(inspect([[[node]]], { depth: 1 }), '[ [ [Array] ] ]')
  })

  it('works through a Proxy', async (t) => {
    const dds = await localDds(t)
    const binding: ProxyHandler<PosemeshNode> = {
      get(node, name) {
        const value: unknown = Reflect.get(node, name)
        return typeof value === 'function' ? value.bind(node) : value
      },
    }
    for (const handler of [{}, binding]) {
      const node = await startNode(t, dds)
      const proxy = new Proxy(node, handler)
      const states: string[] = []
      proxy.on('status', ({ state }) => states.push(state))
      await proxy.waitRegistered(wait)
      const { value } = await proxy.accessToken(wait)
      assert.equal(proxy.tryAccessToken()?.value, value)
      assert.equal(proxy.status(), node.status())
      assert.equal(proxy.sign(Buffer.from('hello')), node.sign(Buffer.from('hello')))
      assert.deepEqual([proxy.walletAddress, proxy.callbackAddress, proxy.readSecret()], [node.walletAddress, null, null])
      assert.equal(JSON.stringify(proxy), JSON.stringify(node))
      proxy.invalidateToken(value)
      proxy.unref().ref().rearm()
      await proxy.stop()
      assert.equal(states.at(-1), 'disconnected')
    }
  })

  // scenario: already-running, port-taken
  it('fails to start with a wallet that another node uses, and on a port that is taken', async (t) => {
    const dds = await localDds(t)
    const key = newKey()
    await startNode(t, dds, { secp256k1Privhex: key })
    await assert.rejects(PosemeshNode.start(optionsFor(dds, { secp256k1Privhex: key })), {
      code: 'ERR_ALREADY_RUNNING',
    })
    const server = createServer().listen(0, '127.0.0.1')
    t.after(() => server.close())
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    await assert.rejects(PosemeshNode.start(optionsFor(dds, { callbackBind: `127.0.0.1:${port}` })), {
      code: 'ERR_BIND',
      message: /callbackBind/,
    })
  })
})

describe('waits', () => {
  // scenario: wait-timed-out, wait-cancelled, stop-during-wait
  it('end on a timeout, on an abort and on a stop', async (t) => {
    const dds = await localDds(t)
    await dds.inject('challenge', { fault: 'hang' }, 1000)
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0' })
    await assert.rejects(node.waitRegistered({ timeoutMs: 1 }), { name: 'PosemeshError', code: 'ERR_TIMEOUT' })

    const controller = new AbortController()
    const aborted = node.waitSecret({ signal: controller.signal })
    const reason = new Error('the user left')
    controller.abort(reason)
    await assert.rejects(aborted, (error) => {
      assert.ok(error instanceof AbortError)
      assert.deepEqual([error.name, error.code, error.cause], ['AbortError', 'ABORT_ERR', reason])
      return true
    })
    await assert.rejects(node.waitRegistered({ signal: AbortSignal.abort() }), { name: 'AbortError' })

    const pending = [node.waitRegistered(), node.waitSecret(wait), node.waitRegistered({ signal: new AbortController().signal })]
    const settled = Promise.allSettled(pending)
    await node.stop()
    for (const result of await settled) {
      assert.equal(result.status, 'rejected')
      assert.equal(result.reason.code, 'ERR_STOPPED')
    }
    await assert.rejects(node.waitRegistered(), { code: 'ERR_STOPPED' })
  })

  // scenario: wait-cannot-succeed
  it('for a secret end at once if none can arrive', async (t) => {
    const dds = await localDds(t)
    await dds.inject('challenge', { fault: 'hang' }, 1000)
    const node = await startNode(t, dds)
    await assert.rejects(node.waitSecret(wait), { code: 'ERR_NOT_FOUND', message: /callbackBind/ })
  })

  it('are all rejected by one signal', async (t) => {
    const dds = await localDds(t)
    await dds.inject('challenge', { fault: 'hang' }, 1000)
    const node = await startNode(t, dds)
    const controller = new AbortController()
    const many = Array.from({ length: 500 }, () => node.waitRegistered({ signal: controller.signal }))
    const settled = Promise.allSettled(many)
    controller.abort()
    assert.ok((await settled).every((result) => result.status === 'rejected'))
  })
})

describe('start', () => {
  // scenario: stop-during-start
  it('rejects with an AbortError and leaves no node running', async (t) => {
    const dds = await localDds(t)
    const options = optionsFor(dds)
    for (let i = 0; i < RUNS; i++) {
      await assert.rejects(PosemeshNode.start({ ...options, signal: AbortSignal.abort() }), { name: 'AbortError' })
    }
    assert.deepEqual(await dds.requests(), [], 'no node starts if the signal is already aborted')
    const controller = new AbortController()
    const starting = PosemeshNode.start({ ...options, signal: controller.signal })
    controller.abort()
    await assert.rejects(starting, { name: 'AbortError', code: 'ABORT_ERR' })
    await startNode(t, dds, options)
  })

  it('reads the environment, and overrides win', async (t) => {
    const dds = await localDds(t)
    const variables = {
      DDS_BASE_URL: dds.url,
      REG_SECRET,
      SECP256K1_PRIVHEX: newKey(),
      CAPABILITIES: '/a/v1,/b/v1',
      NODE_VERSION: 'not a version',
      MAX_CONCURRENCY: '7',
    }
    Object.assign(process.env, variables)
    t.after(() => Object.keys(variables).forEach((name) => delete process.env[name]))
    await assert.rejects(PosemeshNode.fromEnv(), { code: 'ERR_INVALID_CONFIG', message: /^NODE_VERSION/ })
    const node = await PosemeshNode.fromEnv({ nodeVersion: '2.0.0' })
    t.after(() => node.stop())
    await node.waitRegistered(wait)
    const [registered] = await dds.nodes()
    assert.deepEqual(
      [registered?.version, registered?.capabilities, registered?.maxConcurrency],
      ['2.0.0', ['/a/v1', '/b/v1'], 7],
    )
  })

  // scenario: environment
  it('accepts blanks, surrounding space, units and prefixes in the environment', async (t) => {
    const dds = await localDds(t)
    const { regSecret, secp256k1Privhex } = optionsFor(dds)
    const variables = {
      DDS_BASE_URL: ` ${dds.url}\n`,
      REG_SECRET: regSecret,
      SECP256K1_PRIVHEX: `${secp256k1Privhex}\n`,
      CAPABILITIES: ' /a/v1 , /b/v1 ',
      NODE_VERSION: '22.11.0-of-node.js',
      POSEMESH_NODE_VERSION: '3.2.1',
      MAX_CONCURRENCY: '  ',
      REGISTER_INTERVAL_SECS: '5m',
    }
    Object.assign(process.env, variables)
    t.after(() => Object.keys(variables).forEach((name) => delete process.env[name]))
    const node = await PosemeshNode.fromEnv()
    t.after(() => node.stop())
    await node.waitRegistered(wait)
    const [registered] = await dds.nodes()
    assert.deepEqual(
      [registered?.version, registered?.capabilities, registered?.maxConcurrency],
      ['3.2.1', ['/a/v1', '/b/v1'], null],
    )
    await assert.rejects(PosemeshNode.fromEnv({ registerIntervalSecs: '5m' as never }), { name: 'TypeError' })
    process.env['REGISTER_INTERVAL_SECS'] = '5 fortnights'
    await assert.rejects(PosemeshNode.fromEnv(), { code: 'ERR_INVALID_CONFIG', message: /^REGISTER_INTERVAL_SECS/ })
  })
})

describe('a keystore', () => {
  const [example] = JSON.parse(readFileSync(join(PACKAGE, '../core/tests/vectors/keystore.json'), 'utf8'))

  it('supplies the key of the wallet', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'keystore-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const file = join(directory, 'keystore.json')
    writeFileSync(file, JSON.stringify(example.keystore))
    const dds = await localDds(t)
    const keystore = { secp256k1Privhex: undefined, secp256k1KeystorePassword: example.password }
    for (const secp256k1KeystoreFile of [file, pathToFileURL(file)]) {
      const node = await startNode(t, dds, { ...keystore, secp256k1KeystoreFile })
      await node.waitRegistered(wait)
      assert.equal(node.walletAddress, example.address.toLowerCase())
      await node.stop()
    }
    const wrong = { ...keystore, secp256k1KeystoreFile: file, secp256k1KeystorePassword: 'hunter2' }
    await assert.rejects(PosemeshNode.start(optionsFor(dds, wrong)), (error) => {
      assert.ok(error instanceof PosemeshError)
      assert.equal(error.code, 'ERR_INVALID_CONFIG')
      assert.match(error.message, /^secp256k1KeystoreFile: .* the password is wrong/)
      assert.doesNotMatch(inspect(error), /hunter2|keystore_/)
      return true
    })
  })
})

describe('options', () => {
  /** Does not compile if an option of the interface is missing here. */
  const names: Record<keyof CoreOptions, true> = {
    ddsBaseUrl: true,
    identity: true,
    regSecret: true,
    secp256k1Privhex: true,
    secp256k1KeystoreFile: true,
    secp256k1KeystorePassword: true,
    capabilities: true,
    nodeVersion: true,
    maxConcurrency: true,
    registerIntervalSecs: true,
    maxRetry: true,
    requestTimeoutSecs: true,
    reregisterSecs: true,
    callbackBind: true,
    callbackPolicy: true,
    healthcheckTtlSecs: true,
    callbackPath: true,
    callbackAllow: true,
    trustedProxies: true,
    callbackTlsCert: true,
    callbackTlsKey: true,
    callbackTlsClientCa: true,
    adminBind: true,
    nodeUrl: true,
    siweDomain: true,
    siweFormat: true,
    stateDir: true,
    stateUrl: true,
    caFile: true,
    allowInsecureHttp: true,
  }

  it("are those of core's table", () => {
    const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())
    assert.deepEqual(Object.keys(names), native.options().map((option) => camel(option.name)))
  })

  it('that are paths accept file URLs and reject other URLs', async () => {
    for (const name of ['caFile', 'stateDir', 'secp256k1KeystoreFile']) {
      const options = { [name]: new URL('https://user:hunter2@example.org/') } as unknown as PosemeshNodeOptions
      const message = `${name} must be a string or a file URL, got a URL with https:`
      await assert.rejects(PosemeshNode.start(options), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message })
    }
  })

  // scenario: wrong-argument
  it('of a wrong type are TypeErrors with the name of the option and without its value', async () => {
    const secret = 'hunter2'
    const wrong: Record<keyof CoreOptions, unknown> = {
      ddsBaseUrl: 1,
      identity: 1,
      regSecret: { secret },
      secp256k1Privhex: [secret],
      secp256k1KeystoreFile: 1,
      secp256k1KeystorePassword: [secret],
      capabilities: secret,
      nodeVersion: 1,
      maxConcurrency: '1',
      registerIntervalSecs: null,
      maxRetry: 1n,
      requestTimeoutSecs: true,
      reregisterSecs: '1',
      callbackBind: 8080,
      callbackPolicy: {},
      healthcheckTtlSecs: '1',
      callbackPath: 1,
      callbackAllow: '192.0.2.7',
      trustedProxies: 1,
      callbackTlsCert: 1,
      callbackTlsKey: {},
      callbackTlsClientCa: true,
      adminBind: 8080,
      nodeUrl: 1,
      siweDomain: Symbol(secret),
      siweFormat: [],
      stateDir: 1,
      stateUrl: [secret],
      caFile: 1,
      allowInsecureHttp: 'true',
    }
    for (const [name, value] of Object.entries(wrong)) {
      await assert.rejects(PosemeshNode.start({ [name]: value } as unknown as PosemeshNodeOptions), (error) => {
        assert.ok(error instanceof TypeError)
        assert.match(error.message, new RegExp(`^${name} must be `))
        assert.doesNotMatch(inspect(error), new RegExp(secret))
        return true
      })
    }
    await assert.rejects(PosemeshNode.start(undefined as never), TypeError)
    await assert.rejects(PosemeshNode.start({ capabilities: ['a', 1] } as never), /^TypeError: capabilities\[1\]/)
    await assert.rejects(PosemeshNode.start({ logger: {} } as never), /^TypeError: logger\.error/)
    await assert.rejects(PosemeshNode.start({ signal: {} } as never), /^TypeError: signal/)
  })

  // scenario: start-refused
  it('of a wrong value are rejected by core, with their names in JavaScript', async () => {
    const cases: [object, RegExp][] = [
      [{}, /regSecret .*secp256k1Privhex .*capabilities .*nodeVersion/],
      [{ maxRetry: 1.5 }, /^maxRetry "1.5"/],
      [{ maxConcurrency: NaN }, /^maxConcurrency "NaN"/],
      [{ callbackPolicy: 'perhaps' }, /^callbackPolicy/],
      [{ capabilities: [] }, /^capabilities/],
      [{ capabilities: ['a,b'] }, /^capabilities\[0\] has a comma/],
      [{ regSecrets: 'x' }, /^unknown option "regSecrets"; the options are ddsBaseUrl, identity, regSecret,.* did you mean regSecret\?$/],
      [{ reg_secret: 'x' }, /^unknown option "reg_secret"; the options are .*; did you mean regSecret\?$/],
      [{ password: 'x' }, /^unknown option "password"; the options are ddsBaseUrl, identity, regSecret,.* signal$/],
      [{ logLevel: 'loud' }, /^logLevel/],
    ]
    for (const [options, message] of cases) {
      await assert.rejects(PosemeshNode.start(options as PosemeshNodeOptions), {
        name: 'PosemeshError',
        code: 'ERR_INVALID_CONFIG',
        message,
      })
    }
  })

  it('that are undefined are not set', async (t) => {
    const dds = await localDds(t)
    await startNode(t, dds, { maxRetry: undefined, callbackBind: undefined })
  })
})

describe('errors', () => {
  it("have core's codes", () => {
    assert.deepEqual(Object.values(ErrorCode), native.errorCodes())
  })

  // scenario: panic
  it('of a panic in Rust are ERR_PANIC', (t) => {
    // Only builds with the feature test-exports export it.
    const { testPanic } = native as { testPanic?: () => Failure }
    if (!testPanic) return t.skip('a release build')
    assert.throws(() => call(testPanic), { name: 'PosemeshError', code: 'ERR_PANIC' })
  })
})

describe('secrets', () => {
  // scenario: secrets-never-shown
  it('do not appear in debug output, errors or logs', async (t) => {
    const dds = await localDds(t, { secret: 'the-node-secret' })
    const key = newKey()
    const seen: unknown[] = []
    const node = await startNode(t, dds, {
      secp256k1Privhex: key,
      callbackBind: '127.0.0.1:0',
      logLevel: 'debug',
    })
    node.on('log', (record) => seen.push(record)).on('secret', (event) => seen.push(event))
    await node.waitSecret(wait)
    seen.push(node, JSON.stringify(node), Object.entries(node), node.status())
    await node.stop()
    assert.ok(seen.length > 4)
    const shown = inspect(seen, { depth: null, showHidden: true })
    for (const secret of [key, REG_SECRET, 'quagga-and-okapi', 'the-node-secret']) {
      assert.ok(!shown.includes(secret), shown)
    }
  })
})

describe('logs', () => {
  // scenario: logs
  it('go to a logger as lines, and once if several nodes share it', async (t) => {
    const dds = await localDds(t)
    const lines: string[] = []
    const write = (level: string) => (line: string) => lines.push(`${level} ${line}`)
    const logger = { error: write('error'), warn: write('warn'), info: write('info'), debug: write('debug') }
    const first = await startNode(t, dds, { logger })
    const second = await startNode(t, dds, { logger })
    await first.waitRegistered(wait)
    await second.waitRegistered(wait)
    await Promise.all([first.stop(), second.stop()])
    const registered = lines.filter((line) => /^info posemesh_node::register: registered/.test(line))
    assert.equal(registered.length, 2, lines.join('\n'))
    assert.ok(!lines.some((line) => line.startsWith('debug')))
  })

  it('reach log listeners up to the requested level', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds, { logLevel: 'debug' })
    await node.waitRegistered(wait)
    const heard = once(node, 'log') as Promise<[LogRecord]>
    node.rearm()
    const [record] = await heard
    assert.ok(record.at instanceof Date)
    assert.match(record.target, /^posemesh_node::/)
    assert.equal(node.listenerCount('log'), 0)
  })
})

describe('a busy event loop', () => {
  // scenario: slow-listener
  it('drops the newest records, and the next one counts them', async (t) => {
    const dds = await localDds(t)
    await dds.inject('challenge', { fault: 'hang' }, 1000)
    const node = await startNode(t, dds)
    const listener = await startNode(t, dds)
    const heard: LogRecord[] = []
    listener.on('log', (record) => record.message.startsWith('re-armed') && heard.push(record))
    // The loop does not yield, so no record is delivered meanwhile.
    for (let i = 0; i < 5000; i++) node.rearm()
    // The next record counts those that were dropped before it.
    while (heard.reduce((sum, { dropped }) => sum + 1 + dropped, 0) < 5000) {
      await once(listener, 'log')
      node.rearm()
    }
    assert.ok(heard.length < 5000, `${heard.length} were kept`)
  })
})

describe('keys', () => {
  it('yield addresses and signatures', async (t) => {
    const address = '0xfdbb6caf01414300c16ea14859fec7736d95355f'
    assert.equal(ethAddress(KEY), address)
    assert.match(signEip191(KEY, Buffer.from('hello')), /^0x[0-9a-f]{130}$/)
    assert.throws(() => ethAddress('zz'), { name: 'PosemeshError', code: 'ERR_INVALID_ARGUMENT' })
    assert.throws(() => signEip191(KEY, 'hello' as never), TypeError)
    assert.throws(() => ethAddress(1 as never), TypeError)
    const dds = await localDds(t)
    const node = await startNode(t, dds, { secp256k1Privhex: `0x${KEY}` })
    assert.equal(node.walletAddress, address)
    const message = new TextEncoder().encode('hello')
    assert.equal(node.sign(message), signEip191(KEY, message))
  })
})

// Checked by tsc, never called.
export function types(node: PosemeshNode): void {
  node.on('status', (event) => event satisfies StatusEvent)
  // @ts-expect-error: there is no such event
  node.on('error', () => {})
  // @ts-expect-error: options that are required
  void PosemeshNode.start({ ddsBaseUrl: 'https://dds.example' })
  // @ts-expect-error: no such word
  void PosemeshNode.fromEnv({ callbackPolicy: 'perhaps' })
  void PosemeshNode.fromEnv({ logger: console, caFile: new URL('file:///ca.pem') })
}
