/** A local DDS, to test a node against without the network: `import { LocalDds } from 'posemesh-node/testing'`. */

import { EventEmitter, once } from 'node:events'

import { native } from './binary.js'
import type { PosemeshNodeOptions } from './config.js'
import { PosemeshError, call, rangeError, typeError, valueError } from './error.js'
import type { LocalDdsSetup, NativeLocalDds } from './native.js'
import { type Checks, readOptions } from './arguments.js'
import { AccessToken } from './token.js'

/** How a {@link LocalDds} is set up. */
export interface LocalDdsOptions {
  /**
   * Where the node's callback server is, such as `http://127.0.0.1:8080`. Without it, a node of this process is found by
   * itself, and no other one is called back.
   */
  nodeUrl?: string | undefined
  /** The secret of every callback; by default a new random one for each registration. */
  secret?: string | undefined
  /** The only registration credentials that are accepted; by default any. */
  credentials?: string | undefined
  /** When a node is called back that has registered. Default `afterAnswer`. */
  callback?: 'never' | 'afterAnswer' | 'beforeAnswer' | undefined
  /** How often the node's health is probed; by default never. */
  healthIntervalMs?: number | undefined
  /** How long a challenge can be answered; default five minutes. */
  nonceLifetimeMs?: number | undefined
  /** How long an access token is good; default one hour. */
  tokenLifetimeMs?: number | undefined
  /** How far its clock is ahead of this machine's or, if negative, behind. */
  clockOffsetSecs?: number | undefined
}

/** One of the three requests of a node: a challenge to sign, the registration, an access token. */
export type Endpoint = 'challenge' | 'register' | 'verify'

/** Something that goes wrong with a request. */
export type Fault =
  | { fault: 'status'; code: number; retryAfter?: string; body?: string }
  | { fault: 'answer'; code: number; headers?: [name: string, value: string][]; body?: string }
  | { fault: 'redirect'; code: number; location: string }
  /** The normal answer, but later. */
  | { fault: 'delay'; millis: number }
  /** No answer, until the client leaves. */
  | { fault: 'hang' }
  | { fault: 'reset' | 'halfBody' | 'notHttp' | 'garbage' | 'invalidUtf8' | 'endlessBody' }
  /** Only to `challenge`: a nonce that is spent already. */
  | { fault: 'staleNonce' }

/** Makes the faults, under the names that they have in the other languages. */
export const Fault = Object.freeze({
  /** An answer with this status, from 200 to 999. */
  status: (code: number, details: { retryAfter?: string; body?: string } = {}): Fault => ({
    fault: 'status',
    code,
    ...details,
  }),
  /** An answer with any status, headers and body. */
  answer: (code: number, details: { headers?: [name: string, value: string][]; body?: string } = {}): Fault => ({
    fault: 'answer',
    code,
    ...details,
  }),
  /** A redirect. */
  redirect: (location: string, code = 307): Fault => ({ fault: 'redirect', code, location }),
  /** The normal answer, but so many milliseconds later. */
  delay: (millis: number): Fault => ({ fault: 'delay', millis }),
  /** No answer, until the client leaves. */
  hang: (): Fault => ({ fault: 'hang' }),
  /** The connection is reset. */
  reset: (): Fault => ({ fault: 'reset' }),
  /** The connection ends in the middle of a body. */
  halfBody: (): Fault => ({ fault: 'halfBody' }),
  /** Bytes that are no HTTP. */
  notHttp: (): Fault => ({ fault: 'notHttp' }),
  /** 200, and a body that is no JSON. */
  garbage: (): Fault => ({ fault: 'garbage' }),
  /** 200, and JSON that is not UTF-8. */
  invalidUtf8: (): Fault => ({ fault: 'invalidUtf8' }),
  /** 200, and a body that goes on and on. */
  endlessBody: (): Fault => ({ fault: 'endlessBody' }),
  /** Only to `challenge`: a nonce that is spent already. */
  staleNonce: (): Fault => ({ fault: 'staleNonce' }),
})

/** A request that arrived. */
export interface DdsRequest {
  /** 1 for the first one. */
  readonly number: number
  /** Which of the three it is, if any. */
  readonly endpoint: Endpoint | null
  readonly method: string
  readonly path: string
  /** Names are in lowercase. */
  readonly headers: Readonly<Record<string, string>>
  /** The body, as it came. */
  readonly body: string
  /** When it had arrived. */
  readonly at: Date
  /** The same on the monotonic clock, since the DDS started. */
  readonly sinceStartMs: number
  /** What was answered; `null`: nothing yet, or no HTTP. */
  readonly status: number | null
}

/** A node that is registered. */
export interface RegisteredNode {
  /** Its wallet, with the EIP-55 checksum; `null` for a robot. */
  readonly wallet: string | null
  readonly nodeId: string
  readonly version: string
  readonly capabilities: readonly string[]
  readonly maxConcurrency: number | null
  /** How often it has registered. */
  readonly registrations: number
  readonly online: boolean
  /** The URL of its callback server, if it registered with one (the legacy registration); otherwise `null`. */
  readonly url: string | null
}

/** What a node answered to a callback. */
export interface CallbackOutcome {
  readonly status: number
  readonly body: string
}

/** A key that stands in many examples of others: for tests, and never for anything of worth. */
export const PRIVATE_KEY = '4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90'

/** base64(`<node UUID>:<secret>`), as the console shows them. */
const REG_SECRET = 'NWM0ZTBhNmItOWQxZi00YzZlLThhNTctMmYwYjdkM2U5MWM0OjhZcTJrWDB2VDdtV2MzTHJacDVh'

const callbacks = ['afterAnswer', 'beforeAnswer', 'never']

function checkText(name: string): (value: unknown) => void {
  return (value) => {
    if (typeof value !== 'string') throw typeError(name, 'a string', value)
  }
}

/** Checks a whole number; the addon has them in 32 bits. */
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
  callback: (value) => {
    if (!callbacks.includes(value as string)) throw valueError(`callback must be one of ${callbacks.join(', ')}`)
  },
  healthIntervalMs: checkMillis('healthIntervalMs'),
  nonceLifetimeMs: checkMillis('nonceLifetimeMs'),
  tokenLifetimeMs: checkMillis('tokenLifetimeMs'),
  clockOffsetSecs: checkInteger('clockOffsetSecs', -(2 ** 31), 2 ** 31 - 1),
}

/** A {@link DdsRequest} as it comes over HTTP. */
interface WireRequest extends Omit<DdsRequest, 'headers' | 'at' | 'sinceStartMs'> {
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly at: string
  readonly since_start_ms: number
}

/** A {@link RegisteredNode} as it comes over HTTP. */
interface WireNode extends Omit<RegisteredNode, 'nodeId' | 'maxConcurrency'> {
  readonly node_id: string
  readonly max_concurrency: number | null
}

/** So many times a fault is played that stays. */
const UNTIL_CLEARED = 2 ** 32 - 1

const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** A DDS on a free port of loopback. It never keeps the process alive. */
export class LocalDds {
  readonly #dds: NativeLocalDds
  readonly #happened: EventEmitter<{ line: [line: string] }>

  private constructor(dds: NativeLocalDds, happened: EventEmitter<{ line: [line: string] }>) {
    this.#dds = dds
    this.#happened = happened
  }

  /**
   * Starts a DDS; when this resolves, it accepts connections.
   *
   * @throws {TypeError} An option is unknown or has the wrong type.
   * @throws {RangeError} A number is too small, too large or not whole.
   */
  static async start(options: LocalDdsOptions = {}): Promise<LocalDds> {
    const setup = readOptions<LocalDdsOptions>(options, checks)
    const happened = new EventEmitter<{ line: [line: string] }>()
    happened.setMaxListeners(0)
    const dds = call(() => native.startLocalDds(setup as LocalDdsSetup, (line) => happened.emit('line', line)))
    return new LocalDds(dds, happened)
  }

  /** What `ddsBaseUrl` of the node under test must be. */
  get url(): string {
    return this.#dds.url
  }

  /** Options for a node that registers here: all that are required, the URL, and the overrides. */
  options(overrides: Partial<PosemeshNodeOptions> = {}): PosemeshNodeOptions {
    return {
      ddsBaseUrl: this.url,
      regSecret: REG_SECRET,
      secp256k1Privhex: PRIVATE_KEY,
      capabilities: ['/test/v1'],
      nodeVersion: '1.0.0',
      ...overrides,
    } as PosemeshNodeOptions
  }

  /** Cuts all connections and frees the port. May be called twice. */
  async stop(): Promise<void> {
    call(() => this.#dds.stop())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /**
   * Lets the next `times` requests to an endpoint meet with a fault, after the faults injected before; `null`: every one
   * until {@link clearFaults}.
   */
  async inject(endpoint: Endpoint, fault: Fault, times: number | null = 1): Promise<void> {
    if (typeof fault !== 'object' || fault === null || !Object.hasOwn(fault, 'fault')) {
      throw typeError('fault', "an object such as Fault.hang() or { fault: 'hang' }", fault)
    }
    const words = Object.entries({ endpoint, times: times ?? UNTIL_CLEARED, ...fault, fault: snakeCase(fault.fault) })
    await this.#post('faults', Object.fromEntries(words.map(([name, value]) => [snakeCase(name), value])))
  }

  /** No more faults. */
  async clearFaults(): Promise<void> {
    await this.#command('DELETE', 'faults')
  }

  /** Every request so far, to one endpoint or to all, in the order of their arrival. */
  async requests(endpoint?: Endpoint): Promise<DdsRequest[]> {
    const all = (await this.#command('GET', 'requests')) as WireRequest[]
    return all
      .filter((request) => endpoint === undefined || request.endpoint === endpoint)
      .map(({ headers, at, since_start_ms, ...same }) => ({
        ...same,
        headers: Object.fromEntries(headers),
        at: new Date(at),
        sinceStartMs: since_start_ms,
      }))
  }

  /** Forgets the requests so far. */
  async clearRequests(): Promise<void> {
    await this.#command('DELETE', 'requests')
  }

  /** Waits until at least `count` requests to an endpoint were answered or met with a fault. */
  async waitForRequests(endpoint: Endpoint, count = 1, timeoutMs = 10_000): Promise<DdsRequest[]> {
    const timeout = AbortSignal.timeout(timeoutMs)
    // The signal's own timer would let the process end instead.
    const alive = setTimeout(() => {}, timeoutMs)
    try {
      for (;;) {
        const happened = once(this.#happened, 'line', { signal: timeout })
        // Not always awaited.
        happened.catch(() => {})
        const requests = await this.requests(endpoint)
        if (requests.length >= count) return requests
        await happened.catch(() => {
          throw new PosemeshError('ERR_TIMEOUT', `${requests.length} of ${count} requests came in ${timeoutMs} ms`)
        })
      }
    } finally {
      clearTimeout(alive)
    }
  }

  /** The nodes that are registered. */
  async nodes(): Promise<RegisteredNode[]> {
    const nodes = (await this.#command('GET', 'nodes')) as WireNode[]
    return nodes.map(({ node_id, max_concurrency, ...same }) => ({
      ...same,
      nodeId: node_id,
      maxConcurrency: max_concurrency,
    }))
  }

  /** Puts fields over every new challenge; a field that is `null` is removed from it. `null`: no more. */
  async setChallenge(fields: Record<string, unknown> | null): Promise<void> {
    await this.#post('challenge', fields)
  }

  /**
   * Where the node's callback server is, such as `http://${node.callbackAddress}`; `null`: no node is called back. A node
   * that is registered and was not called back is called now, unless `callback` is `never`.
   */
  async setNodeUrl(url: string | null): Promise<void> {
    await this.#post('node-url', { url })
  }

  /** The secret of every callback from now on; `null`: a new random one, and another one for each registration. */
  async setSecret(secret: string | null): Promise<void> {
    await this.#post('secret', { secret })
  }

  /** The secret of the latest callback. */
  async lastSecret(): Promise<string | null> {
    return ((await this.#command('GET', 'secret')) as { secret: string | null }).secret
  }

  /** Calls back the node that registered last now, with the secret of its registration. */
  async callBack(): Promise<CallbackOutcome> {
    return (await this.#command('POST', 'callback')) as CallbackOutcome
  }

  /** Asks the node for its health, and returns the status of the answer. */
  async probeHealth(): Promise<number> {
    return ((await this.#command('POST', 'probe')) as { status: number }).status
  }

  /** Loses one node, or every one: it gets no access token until it has registered again. */
  async forget(wallet?: string): Promise<void> {
    await (wallet === undefined ? this.#command('POST', 'forget') : this.#post('forget', { wallet }))
  }

  /** Whether an access token is good, as a service behind DDS would find out. */
  async acceptsToken(token: AccessToken | string): Promise<boolean> {
    const value = token instanceof AccessToken ? token.value : token
    return ((await this.#post('token', { token: value })) as { good: boolean }).good
  }

  /** Whether another node with this wallet is online, so that a registration is answered with 409. */
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
