// The options of calls: only own properties count, and invalid ones are rejected.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { PosemeshNode, type PosemeshNodeOptions, authorizedFetch } from 'posemesh-node'
import { LocalDds } from 'posemesh-node/testing'
import { native } from '../lib/binary.js'
import { HANG_MS, localDds, newKey, optionsFor, startNode } from './support.js'

const wait = { timeoutMs: HANG_MS }
const LONE_SURROGATES = ['\ud800', 'a\udc00b', '\udc00\ud800']

/** The calls that take the options of a wait. */
const calls = (node: PosemeshNode): [name: string, call: (options: never) => Promise<unknown>][] => [
  ['waitRegistered', (options) => node.waitRegistered(options)],
  ['waitSecret', (options) => node.waitSecret(options)],
  ['accessToken', (options) => node.accessToken(options)],
  ['stop', (options) => node.stop(options)],
  ['authorizedFetch', async (options) => authorizedFetch(node, options)],
]

describe('options of a call', () => {
  it('that are invalid are TypeErrors and RangeErrors with a code', async (t) => {
    const dds = await localDds(t)
    await dds.inject('challenge', { fault: 'hang' }, 1000)
    const node = await startNode(t, dds)
    const type = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
    const unknown = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }
    const cases: [options: unknown, error: object, message: RegExp][] = [
      [500, type, /^options must be an object, got number$/],
      ['500', type, /^options must be an object, got string$/],
      [null, type, /^options must be an object, got null$/],
      [[500], type, /^options must be an object, got an array$/],
      [() => 500, type, /^options must be an object, got function$/],
      [new AbortController().signal, type, /^options must be a plain object, got AbortSignal$/],
      [new Map([['timeoutMs', 500]]), type, /^options must be a plain object, got Map$/],
      [{ timeout: 500 }, unknown, /^unknown option "timeout"; the options are .*timeoutMs.*; did you mean timeoutMs\?$/],
      [{ timeoutMS: 500 }, unknown, /^unknown option "timeoutMS"/],
      [{ timeoutMs: 500, retries: 1 }, unknown, /^unknown option "retries"; the options are .*timeoutMs/],
      [JSON.parse('{"__proto__": 1}'), unknown, /^unknown option "__proto__"/],
      [{ constructor: 1 }, unknown, /^unknown option "constructor"/],
      [{ timeoutMs: '500' }, type, /^timeoutMs must be a number, got string$/],
      [{ timeoutMs: null }, type, /^timeoutMs must be a number, got null$/],
      [{ timeoutMs: new Date() }, type, /^timeoutMs must be a number, got Date$/],
      [{ timeoutMs: -1 }, { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }, /^timeoutMs must be 0 or more, got -1$/],
      [{ timeoutMs: NaN }, { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }, /^timeoutMs must be 0 or more, got NaN$/],
    ]
    for (const [name, call] of calls(node)) {
      for (const [options, error, message] of cases) {
        await assert.rejects(call(options as never), { ...error, message }, `${name}(${String(options)})`)
      }
    }
    for (const [, call] of calls(node).slice(0, 3)) {
      await assert.rejects(call({ signal: 'abort' } as never), { ...type, message: /^signal must be an AbortSignal/ })
    }
    await assert.rejects(node.stop({ signal: AbortSignal.abort() } as never), unknown)
    assert.throws(() => authorizedFetch(node, { fetch: 'fetch' as never }), { ...type, message: /^fetch must be a function/ })
    assert.equal(node.status().running, true)
  })

  it('that are invalid in a start are TypeErrors with a code', async () => {
    for (const options of [undefined, 1, [], new Map(), AbortSignal.abort()]) {
      await assert.rejects(PosemeshNode.start(options as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
    }
    await assert.rejects(PosemeshNode.fromEnv(1 as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
  })

  it('may be undefined, without a prototype, or an instance of a class', async (t) => {
    const dds = await localDds(t)
    class Options {
      timeoutMs = HANG_MS
      signal = undefined
    }
    const bare = Object.assign(Object.create(null), optionsFor(dds))
    const node = await PosemeshNode.start(bare)
    t.after(() => node.stop())
    await node.waitRegistered(undefined)
    await node.waitRegistered({ timeoutMs: undefined, signal: undefined })
    await node.waitRegistered(new Options())
    await node.waitRegistered(Object.assign(Object.create(null), wait))
  })
})

describe('Object.prototype', () => {
  it('is never searched for options', async (t) => {
    const dds = await localDds(t)
    const trap = await localDds(t)
    const polluted: Record<string, unknown> = {
      timeoutMs: 1,
      signal: AbortSignal.abort(),
      fetch: () => assert.fail('the fetch of Object.prototype was called'),
      logger: 'not a logger',
      logLevel: 'not a level',
      nodeUrl: 'no URL',
      healthIntervalMs: 1,
      code: 'ERR_INTERNAL',
      error: { code: 'ERR_INTERNAL', message: 'from Object.prototype' },
    }
    // Core's names, those of JavaScript, and those of the environment, which also inherits from it.
    const camel = (name: string) => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
    for (const { name, variables } of native.options()) {
      for (const alias of [name, camel(name), ...variables]) polluted[alias] = trap.url
    }
    polluted['NODE_EXTRA_CA_CERTS'] = '/there/is/no/such/file'

    const options = optionsFor(dds)
    const environment = {
      DDS_BASE_URL: dds.url,
      REG_SECRET: options.regSecret,
      SECP256K1_PRIVHEX: newKey(),
      CAPABILITIES: '/test/v1',
      NODE_VERSION: '1.0.0',
    }
    const before = { ...process.env }
    const unset = () => {
      for (const name of Object.keys(polluted)) delete (Object.prototype as Record<string, unknown>)[name]
      for (const name of Object.keys(environment)) {
        if (before[name] === undefined) delete process.env[name]
        else process.env[name] = before[name]
      }
    }
    t.after(unset)
    Object.assign(process.env, environment)
    for (const [name, value] of Object.entries(polluted)) {
      Object.defineProperty(Object.prototype, name, { value, configurable: true, enumerable: true, writable: true })
    }
    const nodes: PosemeshNode[] = []
    try {
      nodes.push(await PosemeshNode.start(options), await PosemeshNode.fromEnv())
      for (const node of nodes) {
        await node.waitRegistered({})
        await node.waitRegistered()
        await node.accessToken()
        const { lastError, lastHealthcheck, persistenceError } = node.status()
        assert.deepEqual([lastError, lastHealthcheck, persistenceError], [null, null, null])
        authorizedFetch(node)
        await node.stop()
      }
      await (await LocalDds.start()).stop()
    } finally {
      unset()
      await Promise.all(nodes.map((node) => node.stop()))
    }
    assert.deepEqual(await trap.requests(), [])
    assert.equal((await dds.requests('register')).length, 2)
  })
})

describe('a lone surrogate', () => {
  it('is rejected in every option that is text, and does not reach DDS', async (t) => {
    const dds = await localDds(t)
    const options = optionsFor(dds)
    const names = ['regSecret', 'secp256k1Privhex', 'nodeVersion', 'ddsBaseUrl', 'callbackBind', 'stateDir', 'caFile', 'siweDomain']
    for (const text of LONE_SURROGATES) {
      for (const name of names) {
        await assert.rejects(PosemeshNode.start({ ...options, [name]: text } as PosemeshNodeOptions), {
          name: 'PosemeshError',
          code: 'ERR_INVALID_CONFIG',
          message: `${name} has a lone surrogate; expected well-formed Unicode text`,
        })
      }
      await assert.rejects(PosemeshNode.start({ ...options, capabilities: ['/fine', text] }), {
        code: 'ERR_INVALID_CONFIG',
        message: /^capabilities\[1\] has a lone surrogate/,
      })
    }
    assert.deepEqual(await dds.requests(), [])
    // Pairs are accepted.
    const node = await startNode(t, dds, { regSecret: 'credentials \u{1f511}' })
    await node.waitRegistered(wait)
    const [request] = await dds.requests('register')
    assert.match(request?.body ?? '', /credentials \u{1f511}/u)
  })
})
