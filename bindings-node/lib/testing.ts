/**
 * A local DDS, to test a node against without the network: `import { LocalDds } from 'posemesh-node/testing'`.
 *
 * @module posemesh-node/testing
 */

import './engine.js'

import { EventEmitter, once } from 'node:events'

import { native } from './binary.js'
import type { PosemeshNodeOptions } from './config.js'
import { PosemeshError, call, rangeError, typeError, valueError } from './error.js'
import type { LocalDdsSetup, NativeLocalDds } from './native.js'
import { type Checks, readOptions, withoutPrototype } from './arguments.js'
import { AccessToken } from './token.js'

/** The options of a {@link LocalDds}. */
export interface LocalDdsOptions {
  /**
   * The URL of the node's callback server, such as `http://127.0.0.1:8080`. Without it, only a node of this process and a
   * node that registers with a URL are called back.
   */
  nodeUrl?: string | undefined
  /** The secret of every callback. By default, each registration has a new one. */
  secret?: string | undefined
  /** The only registration credentials that are accepted. By default, any are. */
  credentials?: string | undefined
  /** When a node is called back after it has registered. Default: `afterAnswer`. */
  callback?: 'never' | 'afterAnswer' | 'beforeAnswer' | undefined
  /**
   * How often the health of nodes is probed. By default, only a node that registers with a URL is probed, once for each
   * registration.
   */
  healthIntervalMs?: number | undefined
  /** How long a challenge is valid. Default: five minutes. */
  nonceLifetimeMs?: number | undefined
  /** How long a token is valid. Default: one hour. */
  tokenLifetimeMs?: number | undefined
  /** Whether tokens are JWTs or opaque. Default: `jwt`. */
  tokenFormat?: 'jwt' | 'opaque' | undefined
  /** Whether the answer to a sign-in with a wallet contains `node_id` and `wallet`. Default: true. */
  tokenIdentity?: boolean | undefined
  /** Claims that are added to every JWT or replace claims in it. A claim that is `null` is removed. */
  tokenClaims?: Readonly<Record<string, unknown>> | undefined
  /** How far its clock is ahead of this machine's or, if negative, behind. */
  clockOffsetSecs?: number | undefined
}

/**
 * The requests of a node.
 *
 * A node with a wallet asks for a `challenge` to sign, and sends it to `register` or, for an access token, to `verify`.
 * `registerUrl` is the legacy registration with a URL. A robot uses `registerRobot` and `verifyRobot`, and exchanges its
 * token with `domainToken` and `p2pToken`. `p2pChallenge` and `p2pVerify` bind a libp2p peer to a node.
 */
export type Endpoint =
  | 'challenge'
  | 'register'
  | 'verify'
  | 'registerUrl'
  | 'registerRobot'
  | 'verifyRobot'
  | 'domainToken'
  | 'p2pToken'
  | 'p2pChallenge'
  | 'p2pVerify'

/** A type check fails if an endpoint is missing. */
const endpoints: Readonly<Record<Endpoint, true>> = {
  challenge: true,
  register: true,
  verify: true,
  registerUrl: true,
  registerRobot: true,
  verifyRobot: true,
  domainToken: true,
  p2pToken: true,
  p2pChallenge: true,
  p2pVerify: true,
}

/** What goes wrong with a request. */
export type Fault =
  | { fault: 'status'; code: number; retryAfter?: string; body?: string }
  | { fault: 'answer'; code: number; headers?: [name: string, value: string][]; body?: string }
  | { fault: 'redirect'; code: number; location: string }
  /** The normal answer, with these fields added or replaced. A field that is `null` is removed. */
  | { fault: 'patch'; fields: Readonly<Record<string, unknown>> }
  /** The normal answer, after a delay. */
  | { fault: 'delay'; millis: number }
  /** No answer until the client disconnects. */
  | { fault: 'hang' }
  | { fault: 'reset' | 'halfBody' | 'notHttp' | 'garbage' | 'invalidUtf8' | 'endlessBody' }
  /** Only for `challenge`: a nonce that has already been used. */
  | { fault: 'staleNonce' }

/** The headers of {@link Fault.answer}. */
type Headers = Readonly<Record<string, string>> | Iterable<readonly [name: string, value: string]>

/** Creates faults. */
export const Fault = Object.freeze({
  /** An answer with this status, from 200 to 999. */
  status: (code: number, details: { retryAfter?: string; body?: string } = {}): Fault => ({
    fault: 'status',
    code,
    ...details,
  }),
  /** An answer with any status from 200 to 999, headers (an object or pairs) and body. */
  answer: (code: number, { headers = [], body = '' }: { headers?: Headers; body?: string } = {}): Fault => {
    const pairs = Symbol.iterator in headers ? headers : Object.entries(headers)
    return { fault: 'answer', code, headers: Array.from(pairs, ([name, value]) => [name, value]), body }
  },
  /**
   * The normal answer, with these fields added or replaced. A field that is `null` is removed. The request has its
   * effect. A refusal is not changed.
   */
  patch: (fields: Readonly<Record<string, unknown>>): Fault => ({ fault: 'patch', fields }),
  /** A redirect. */
  redirect: (location: string, code = 307): Fault => ({ fault: 'redirect', code, location }),
  /** The normal answer, after this many milliseconds. */
  delay: (millis: number): Fault => ({ fault: 'delay', millis }),
  /** No answer until the client disconnects. */
  hang: (): Fault => ({ fault: 'hang' }),
  /** The connection is reset without an answer. */
  reset: (): Fault => ({ fault: 'reset' }),
  /** The connection ends in the middle of a body. */
  halfBody: (): Fault => ({ fault: 'halfBody' }),
  /** Bytes that are not HTTP. */
  notHttp: (): Fault => ({ fault: 'notHttp' }),
  /** 200, and a body that is not JSON. */
  garbage: (): Fault => ({ fault: 'garbage' }),
  /** 200, and JSON that is not valid UTF-8. */
  invalidUtf8: (): Fault => ({ fault: 'invalidUtf8' }),
  /** 200, and a body that does not end. */
  endlessBody: (): Fault => ({ fault: 'endlessBody' }),
  /** Only for `challenge`: a nonce that has already been used, so the registration is refused. */
  staleNonce: (): Fault => ({ fault: 'staleNonce' }),
})

/** A request that the DDS received. */
export interface DdsRequest {
  /** 1 for the first request. */
  readonly number: number
  /** Its endpoint, or `null` if DDS has no such endpoint. */
  readonly endpoint: Endpoint | null
  readonly method: string
  readonly path: string
  /** Names are in lowercase. */
  readonly headers: Readonly<Record<string, string>>
  /** The body as text. */
  readonly body: string
  /** When it had arrived completely. */
  readonly at: Date
  /** The same on the monotonic clock, since the DDS started. */
  readonly sinceStartMs: number
  /** The status of the answer. `null`: no answer yet, or none in HTTP. */
  readonly status: number | null
  /** Parses the body as JSON. */
  json(): unknown
}

/** A node that is registered. */
export interface RegisteredNode {
  /** Its wallet, with the EIP-55 checksum; `null` for a robot. */
  readonly wallet: string | null
  readonly nodeId: string
  readonly version: string
  readonly capabilities: readonly string[]
  readonly maxConcurrency: number | null
  /** How often it has registered since it was last forgotten. */
  readonly registrations: number
  /** Whether it answered the last health probe. A node that has just registered counts as online. */
  readonly online: boolean
  /** The URL of its callback server, if it registered with one (the legacy registration); otherwise `null`. */
  readonly url: string | null
}

/** The answer of a node to a callback. */
export interface CallbackOutcome {
  readonly status: number
  readonly body: string
}

/** A published private key, for tests only. */
export const PRIVATE_KEY = '4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90'

/** base64(`<node UUID>:<secret>`), as shown in the console. */
const REG_SECRET = 'NWM0ZTBhNmItOWQxZi00YzZlLThhNTctMmYwYjdkM2U5MWM0OjhZcTJrWDB2VDdtV2MzTHJacDVh'

function checkText(name: string): (value: unknown) => void {
  return (value) => {
    if (typeof value !== 'string') throw typeError(name, 'a string', value)
    if (/\p{Cs}/u.test(value)) throw valueError(`${name} has a lone surrogate, so it is not valid Unicode`)
  }
}

function checkChoice(name: string, choices: readonly string[]): (value: unknown) => void {
  return (value) => {
    if (!choices.includes(value as string)) throw valueError(`${name} must be one of ${choices.join(', ')}`)
  }
}

const checkEndpoint = checkChoice('endpoint', Object.keys(endpoints))
const checkFault = checkChoice('fault.fault', Object.keys(Fault))

/** Checks a whole number of at most 32 bits. */
function checkInteger(name: string, min: number, max: number): (value: unknown) => void {
  return (value) => {
    if (typeof value !== 'number') throw typeError(name, 'a number', value)
    if (!(Number.isInteger(value) && value >= min && value <= max)) {
      throw rangeError(`${name} must be a whole number from ${min} to ${max}, got ${value}`)
    }
  }
}

const checkMillis = (name: string) => checkInteger(name, 1, 2 ** 32 - 1)

const checks: Checks<LocalDdsOptions> = {
  nodeUrl: checkText('nodeUrl'),
  secret: checkText('secret'),
  credentials: checkText('credentials'),
  callback: checkChoice('callback', ['afterAnswer', 'beforeAnswer', 'never']),
  healthIntervalMs: checkMillis('healthIntervalMs'),
  nonceLifetimeMs: checkMillis('nonceLifetimeMs'),
  tokenLifetimeMs: checkMillis('tokenLifetimeMs'),
  tokenFormat: checkChoice('tokenFormat', ['jwt', 'opaque']),
  tokenIdentity: (value) => {
    if (typeof value !== 'boolean') throw typeError('tokenIdentity', 'a boolean', value)
  },
  tokenClaims: (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw typeError('tokenClaims', 'an object', value)
    }
  },
  clockOffsetSecs: checkInteger('clockOffsetSecs', -(2 ** 31), 2 ** 31 - 1),
}

/** A {@link DdsRequest} as it comes over HTTP. */
interface WireRequest extends Omit<DdsRequest, 'endpoint' | 'headers' | 'at' | 'sinceStartMs' | 'json'> {
  readonly endpoint: string | null
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly at: string
  readonly since_start_ms: number
}

/** A {@link RegisteredNode} as it comes over HTTP. */
interface WireNode extends Omit<RegisteredNode, 'nodeId' | 'maxConcurrency'> {
  readonly node_id: string
  readonly max_concurrency: number | null
}

/** The `times` of a fault that is applied until it is cleared. */
const UNTIL_CLEARED = 2 ** 32 - 1

const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const camelCase = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

function readRequest({ endpoint, headers, at, since_start_ms, ...same }: WireRequest): DdsRequest {
  const request = {
    ...same,
    endpoint: endpoint === null ? null : (camelCase(endpoint) as Endpoint),
    headers: Object.fromEntries(headers),
    at: new Date(at),
    sinceStartMs: since_start_ms,
  }
  // Not enumerable, so that requests can be compared and printed.
  return Object.defineProperty(request, 'json', { value: () => JSON.parse(same.body) as unknown }) as typeof request &
    Pick<DdsRequest, 'json'>
}

/** The options that replace the private key. */
const otherKeys = ['secp256k1KeystoreFile', 'signer']

/** As a listening `http.Server`, a running DDS is not garbage-collected, even if its program holds nothing but its URL. */
const running = new Set<LocalDds>()

/** A DDS on a free port of loopback. It does not keep the process alive. */
export class LocalDds {
  readonly #dds: NativeLocalDds
  readonly #happened: EventEmitter<{ line: [line: string] }>

  private constructor(dds: NativeLocalDds, happened: EventEmitter<{ line: [line: string] }>) {
    this.#dds = dds
    this.#happened = happened
  }

  /**
   * Starts a DDS. It accepts connections when this resolves.
   *
   * @throws {TypeError} An option is unknown or has the wrong type.
   * @throws {RangeError} A number is too small, too large or not whole.
   */
  static async start(options: LocalDdsOptions = {}): Promise<LocalDds> {
    const { tokenClaims, ...others } = readOptions<LocalDdsOptions>(options, checks)
    const claims = tokenClaims === undefined ? {} : { tokenClaims: JSON.stringify(tokenClaims) }
    // Node-API also reads inherited properties.
    const setup = withoutPrototype(Object.entries<unknown>({ ...others, ...claims }))
    const happened = new EventEmitter<{ line: [line: string] }>()
    happened.setMaxListeners(0)
    const dds = call(() => native.startLocalDds(setup as LocalDdsSetup, (line) => happened.emit('line', line)))
    const started = new LocalDds(dds, happened)
    running.add(started)
    return started
  }

  /** The `ddsBaseUrl` of a node that registers here. */
  get url(): string {
    return this.#dds.url
  }

  /**
   * Options for a node that registers here: the required ones, the URL, and the overrides. There is no private key if the
   * overrides have a keystore or a signer, or if the node is a robot.
   */
  options(overrides: Partial<PosemeshNodeOptions> = {}): PosemeshNodeOptions {
    const given: Record<string, unknown> = { ...overrides }
    const hasKey = given['identity'] !== 'robot' && !otherKeys.some((name) => given[name] !== undefined)
    return {
      ddsBaseUrl: this.url,
      regSecret: REG_SECRET,
      ...(hasKey ? { secp256k1Privhex: PRIVATE_KEY } : {}),
      capabilities: ['/test/v1'],
      nodeVersion: '1.0.0',
      ...overrides,
    } as PosemeshNodeOptions
  }

  /** Closes all connections and frees the port. Can be called again. */
  async stop(): Promise<void> {
    call(() => this.#dds.stop())
    running.delete(this)
  }

  /** Stops the DDS at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /**
   * Applies a fault to the next `times` requests to an endpoint, after the faults that were injected before. `null`: to
   * every request until {@link clearFaults}.
   */
  async inject(endpoint: Endpoint, fault: Fault, times: number | null = 1): Promise<void> {
    if (typeof fault !== 'object' || fault === null || !Object.hasOwn(fault, 'fault')) {
      throw typeError('fault', "an object such as Fault.hang() or { fault: 'hang' }", fault)
    }
    checkEndpoint(endpoint)
    checkFault(fault.fault)
    const words = Object.entries({
      times: times ?? UNTIL_CLEARED,
      ...fault,
      endpoint: snakeCase(endpoint),
      fault: snakeCase(fault.fault),
    })
    await this.#post('faults', Object.fromEntries(words.map(([name, value]) => [snakeCase(name), value])))
  }

  /** Removes all faults. One that is being applied continues. */
  async clearFaults(): Promise<void> {
    await this.#command('DELETE', 'faults')
  }

  /** Returns every request so far, or every one to an endpoint, in order of arrival. */
  async requests(endpoint?: Endpoint): Promise<DdsRequest[]> {
    if (endpoint !== undefined) checkEndpoint(endpoint)
    const all = (await this.#command('GET', 'requests')) as WireRequest[]
    return all.map(readRequest).filter((request) => endpoint === undefined || request.endpoint === endpoint)
  }

  /** Forgets the requests so far. */
  async clearRequests(): Promise<void> {
    await this.#command('DELETE', 'requests')
  }

  /** Waits until at least `count` requests to an endpoint have been answered or had a fault applied, and returns them. */
  async waitForRequests(endpoint: Endpoint, count = 1, timeoutMs = 10_000): Promise<DdsRequest[]> {
    checkEndpoint(endpoint)
    const timeout = AbortSignal.timeout(timeoutMs)
    // The timer of the signal does not keep the process alive.
    const alive = setTimeout(() => {}, timeoutMs)
    try {
      for (;;) {
        const happened = once(this.#happened, 'line', { signal: timeout })
        // It is not always awaited.
        happened.catch(() => {})
        const requests = await this.requests(endpoint)
        if (requests.length >= count) return requests
        await happened.catch(() => {
          throw new PosemeshError('ERR_TIMEOUT', `${requests.length} of ${count} requests to ${endpoint} arrived within ${timeoutMs} ms`)
        })
      }
    } finally {
      clearTimeout(alive)
    }
  }

  /** Returns the nodes that are registered. */
  async nodes(): Promise<RegisteredNode[]> {
    const nodes = (await this.#command('GET', 'nodes')) as WireNode[]
    return nodes.map(({ node_id, max_concurrency, ...same }) => ({
      ...same,
      nodeId: node_id,
      maxConcurrency: max_concurrency,
    }))
  }

  /** Adds fields to every new challenge or replaces them; a field that is `null` is removed. `null`: stop doing so. */
  async setChallenge(fields: Record<string, unknown> | null): Promise<void> {
    await this.#post('challenge', fields)
  }

  /**
   * Sets the URL of the node's callback server, such as `http://${node.callbackAddress}`; `null`: call no node back. The
   * node that registered last is called now if it has not been called, unless `callback` is `never`.
   */
  async setNodeUrl(url: string | null): Promise<void> {
    await this.#post('node-url', { url })
  }

  /** Sets the secret of every future callback. `null`: a new random one for each registration. */
  async setSecret(secret: string | null): Promise<void> {
    await this.#post('secret', { secret })
  }

  /** The secret of the latest callback. It is set before the node has received it. */
  async lastSecret(): Promise<string | null> {
    return ((await this.#command('GET', 'secret')) as { secret: string | null }).secret
  }

  /** Calls back the node that registered last, with the secret of its registration. */
  async callBack(): Promise<CallbackOutcome> {
    return (await this.#command('POST', 'callback')) as CallbackOutcome
  }

  /** Probes the health of the node that registered last, as DDS does, and returns the status of its answer. */
  async probeHealth(): Promise<number> {
    return ((await this.#command('POST', 'probe')) as { status: number }).status
  }

  /**
   * Forgets a node (its wallet address or robot id), or every node, and revokes its tokens. It gets no access token until
   * it has registered again.
   */
  async forget(wallet?: string): Promise<void> {
    await (wallet === undefined ? this.#command('POST', 'forget') : this.#post('forget', { wallet }))
  }

  /** Whether a token is valid, as a service behind DDS would check it. */
  async acceptsToken(token: AccessToken | string): Promise<boolean> {
    const value = token instanceof AccessToken ? token.value : token
    return ((await this.#post('token', { token: value })) as { good: boolean }).good
  }

  /** Sets whether another node with this wallet is online, so a registration is answered with 409. */
  async setOnlineElsewhere(wallet: string, online: boolean): Promise<void> {
    await this.#post('online-elsewhere', { wallet, online })
  }

  #post(command: string, body: unknown): Promise<unknown> {
    return this.#command('POST', command, JSON.stringify(body))
  }

  async #command(method: string, command: string, body?: string): Promise<unknown> {
    const answer = await fetch(`${this.url}/_dev/${command}`, { method, ...(body === undefined ? {} : { body }) })
    if (!answer.ok) throw new Error(`LocalDds: ${command}: ${await answer.text()}`)
    return answer.json()
  }
}
