/** A running node. */

import { EventEmitter } from 'node:events'
import { inspect, type InspectOptions } from 'node:util'

import { type Checks, checkSignal, checkTimeout, ownOptions, readOptions } from './arguments.js'
import { Changes } from './changes.js'
import { type PosemeshNodeOptions, type PosemeshNodeOverrides, inCamelCase } from './config.js'
import { bytes } from './crypto.js'
import { AbortError, PosemeshError, call, fromFailure, isFailure, typeError, withCode } from './error.js'
import { type PosemeshNodeEvents, emitEvent, isSent, sentEvents } from './event.js'
import { type LogLevel, checkLogger, listen, logLevels, write } from './log.js'
import { type Metrics, readMetrics } from './metrics.js'
import type { Message, MetricFamily, NativeNode, Token } from './native.js'
import { behindProxy, makeReachable } from './proxy.js'
import { Routes, respondToFetch } from './routes.js'
import { checkSigner, openSigner } from './signer.js'
import { startNative } from './start.js'
import { type Status, StatusReader } from './status.js'
import { clearTimeout, setImmediate, startTimer } from './timers.js'
import { AccessToken, TokenReader, toAccessToken } from './token.js'
import { type WaitOptions, Waits, readWait } from './wait.js'

/** The limits of a stop. */
export interface StopOptions {
  /** Milliseconds after which the stop rejects with `ERR_TIMEOUT`; default 5000. */
  timeoutMs?: number | undefined
}

const stopChecks: Checks<StopOptions> = { timeoutMs: checkTimeout }

/** What a node needs to be ready. */
export interface ReadyOptions {
  /** Whether it needs a secret; default false. */
  secret?: boolean | undefined
}

const readyChecks: Checks<ReadyOptions> = {
  secret: (secret) => {
    if (typeof secret !== 'boolean') throw typeError('secret', 'a boolean', secret)
  },
}

/** Whether a node is ready. */
export interface Readiness {
  readonly ready: boolean
  /** What a ready node has, or why the node is not ready, for people. */
  readonly reason: string
}

/** An event, or the end of the node. */
type Notice = Exclude<Message, { type: 'waited' | 'handled' }>

/** @internal Returns the routes of a node, for the adapters to web servers. */
export let routesOf: (node: PosemeshNode) => Routes

/** @internal Reads the metrics of a node as a list, for the adapters to libraries of metrics. */
export let familiesOf: (node: PosemeshNode) => MetricFamily[]

/** The key of the constructor, because only `start` and `fromEnv` construct nodes. */
const internal = Symbol('internal')

/**
 * A node that registers with DDS and stays registered until it is stopped.
 *
 * A running node keeps the process alive, as a listening `http.Server` does. See {@link unref}.
 *
 * @example
 * await using node = await PosemeshNode.start({ regSecret, secp256k1Privhex, capabilities, nodeVersion: '1.0.0' })
 * await node.waitRegistered({ timeoutMs: 30_000 })
 */
export class PosemeshNode extends EventEmitter<PosemeshNodeEvents> {
  static {
    routesOf = (node) => behindProxy(node, 'PosemeshNode').#routes
    familiesOf = (node) => call(() => behindProxy(node, 'PosemeshNode').#native.metricFamilies())
  }

  /** Events that arrived before the caller could add a listener. */
  #early: Notice[] | null = []
  #native!: NativeNode
  #status!: StatusReader
  #token!: TokenReader
  #waits!: Waits
  #routes!: Routes
  /** Whether the addon sends events. It does after a start. */
  #subscribed = true
  #referenced = true
  #closed!: () => void
  readonly #untilClosed = new Promise<void>((resolve) => (this.#closed = resolve))
  readonly #logLevel: LogLevel
  /** End the delivery of records to the `logger` option and of requests to the `signer` option. */
  readonly #endings: readonly (() => void)[]
  /** Ends the delivery of records to `'log'` listeners. */
  #endLogEvents: (() => void) | null = null
  readonly #hooks: readonly [event: string, hook: (event: unknown) => void][] = [
    ['newListener', (event) => this.#listenerAdded(event)],
    ['removeListener', (event) => this.#listenerRemoved(event)],
  ]

  private constructor(key: typeof internal, logLevel: LogLevel, endings: readonly (() => void)[]) {
    if (key !== internal) {
      throw withCode(new TypeError('Illegal constructor; call PosemeshNode.start()'), 'ERR_ILLEGAL_CONSTRUCTOR')
    }
    super()
    makeReachable(this)
    this.#logLevel = logLevel
    this.#endings = endings
    this.#watchListeners()
  }

  /**
   * Checks the options, binds the callback address and starts to register. It does not wait for DDS.
   *
   * @throws {TypeError} An option has the wrong type.
   * @throws {PosemeshError} `ERR_INVALID_CONFIG`, `ERR_ALREADY_RUNNING`, `ERR_BIND`, `ERR_IO`.
   * @throws {AbortError} The signal was aborted. The node is then stopped, or was never started.
   */
  static async start(options: PosemeshNodeOptions): Promise<PosemeshNode> {
    return PosemeshNode.#start(options, false)
  }

  /**
   * As {@link start}, with the options from `process.env`, which in a worker is that of the worker. The variables of options
   * in `overrides` are not read.
   */
  static async fromEnv(overrides: PosemeshNodeOverrides = {}): Promise<PosemeshNode> {
    return PosemeshNode.#start(overrides, true)
  }

  static async #start(given: PosemeshNodeOverrides, fromEnv: boolean): Promise<PosemeshNode> {
    const { logger, logLevel = 'info', signer, signal, ...options } = ownOptions(given) as PosemeshNodeOverrides
    if (logger !== undefined) checkLogger(logger)
    if (!logLevels.includes(logLevel)) {
      throw new PosemeshError('ERR_INVALID_CONFIG', `logLevel is one of ${logLevels.join(', ')}`)
    }
    if (signer !== undefined) checkSigner(signer)
    if (signal !== undefined) checkSignal(signal)
    const endings: (() => void)[] = []
    if (logger) endings.push(listen(logger, logLevel, write(logger)))
    const bridge = signer && openSigner(signer)
    if (bridge) endings.push(() => call(() => bridge.close()))
    const node = new PosemeshNode(internal, logLevel, endings)
    try {
      const deliver = (message: Message) => node.#receive(message)
      node.#native = await startNative({ options, fromEnv, signer: bridge, signal, deliver })
      const changes = new Changes(node.#native)
      node.#status = new StatusReader(node.#native, changes)
      node.#token = new TokenReader(node.#native, changes)
      node.#waits = new Waits(node.#native)
      node.#routes = new Routes(node.#native)
    } catch (error) {
      for (const end of endings) end()
      throw error
    }
    // One turn of the event loop later, so that the listeners of the caller receive all events.
    setImmediate(() => {
      const early = node.#early ?? []
      node.#early = null
      for (const message of early) node.#dispatch(message)
      node.#unsubscribeUnheard()
    })
    if (signal?.aborted) {
      await node.stop()
      throw new AbortError(signal)
    }
    return node
  }

  /**
   * Returns a snapshot of the node. It takes no lock and is cheap: it returns the same object until something changes,
   * unless the last attempt failed.
   */
  status(): Status {
    return behindProxy(this, 'PosemeshNode').#status.read()
  }

  /**
   * Whether the node is ready, and why, or why not: it must run and be registered and, with `secret`, have a secret. The
   * reason may contain text that DDS sent.
   */
  ready(options: ReadyOptions = {}): Readiness {
    const { secret = false } = readOptions<ReadyOptions>(options, readyChecks)
    const { ready, reason } = call(() => behindProxy(this, 'PosemeshNode').#native.ready(secret))
    return { ready, reason: inCamelCase(reason) }
  }

  /** Returns what the node has done, and what it does. After a stop, these are the last values. */
  metrics(): Metrics {
    return readMetrics(behindProxy(this, 'PosemeshNode').#native)
  }

  /**
   * Returns the metrics as text for Prometheus. Its content type is {@link METRICS_CONTENT_TYPE}. It can be appended to the
   * text of other metrics.
   */
  metricsText(): string {
    return call(() => behindProxy(this, 'PosemeshNode').#native.metricsText())
  }

  /**
   * Waits until the node is registered. The wait does not end when DDS refuses the node, because the node tries again:
   * `status().lastError` and `'attemptFailed'` say why.
   */
  async waitRegistered(options: WaitOptions = {}): Promise<void> {
    await behindProxy(this, 'PosemeshNode').#waits.begin('registered', readWait(options))
  }

  /**
   * Waits until the node has a secret, and returns it.
   *
   * @throws {PosemeshError} `ERR_NOT_FOUND` at once if the node has no secret and none can arrive, because DDS cannot call the
   * node: without `callbackBind`, `nodeUrl`, `stateDir`, `stateUrl`, and routes in the program's own web server.
   * `ERR_TIMEOUT`, `ERR_STOPPED`.
   * @throws {AbortError} The signal was aborted.
   */
  async waitSecret(options: WaitOptions = {}): Promise<string> {
    const checked = readWait(options)
    const node = behindProxy(this, 'PosemeshNode')
    node.#routes.expectCallbacksIfMounted()
    await node.#waits.begin('secret', checked)
    // A node that has received a secret keeps it.
    return this.readSecret() as string
  }

  /** Returns the node secret; `null` before DDS has sent one. It stays readable after a stop. */
  readSecret(): string | null {
    return call(() => behindProxy(this, 'PosemeshNode').#native.readSecret())
  }

  /**
   * Returns an access token for the services behind DDS. While the node holds a token, this is as cheap as {@link status}.
   * Otherwise it waits for the registration and the sign-in, of which there is one for all callers. After the first call,
   * the node renews the token by itself before it expires.
   *
   * @throws {PosemeshError} `ERR_REJECTED`: DDS refused the sign-in. `ERR_TIMEOUT`, with the error of the last attempt.
   * `ERR_STOPPED`.
   * @throws {AbortError} The signal was aborted.
   */
  accessToken(options?: WaitOptions): Promise<AccessToken> {
    // A promise that exists already costs less than an async function. A Proxy does not have the private field.
    const isNode = typeof this === 'object' && #token in this
    const held = options === undefined && isNode ? this.#token.readPromise() : undefined
    return held ?? PosemeshNode.#accessToken(this, options)
  }

  /**
   * Returns the access token that the node holds, or `undefined`. It never signs in: the node has no token before the first
   * call of {@link accessToken}, while it replaces one that was refused, and after a stop.
   */
  tryAccessToken(): AccessToken | undefined {
    return behindProxy(this, 'PosemeshNode').#token.read()
  }

  /**
   * Drops an access token that is not valid any more, for example because a service responded with 401. This does nothing
   * if the node already holds another token, so many requests that fail with one token cause one sign-in. Without an
   * argument, it drops the current token. The node obtains a new token at once. If the dropped token itself replaced another
   * one less than a second ago, the new token follows when that second is over.
   */
  invalidateToken(token?: AccessToken | string): void {
    const value = token instanceof AccessToken ? token.value : token
    if (value !== undefined && typeof value !== 'string') throw typeError('token', 'an AccessToken or a string', value)
    const node = behindProxy(this, 'PosemeshNode')
    // Not only if the status changes: the node may already hold another token that expires in the same second.
    node.#token.forget()
    call(() => node.#native.invalidateToken(value))
  }

  /**
   * Responds to a request that DDS sent to the program's own web server, or resolves to `undefined` if the request is the
   * program's: its path is neither `/internal/v1/registrations` nor `/health`, or it is a `/health` that does not come from
   * DDS. The body of such a request is not read. Remove any prefix from the URL first.
   *
   * The body must be unread, and may have 256 KiB. After a stop, the response is 503. `posemesh-node/http` has handlers for
   * web servers, which also respond as long as there is no node.
   *
   * @example
   * Deno.serve(async (request) => (await node.handleRequest(request)) ?? respond(request))
   */
  async handleRequest(request: Request): Promise<Response | undefined> {
    const routes = behindProxy(this, 'PosemeshNode').#routes
    return respondToFetch(request, (head, body) => routes.handle(head, body))
  }

  /**
   * Registers again. The state is `disconnected` at once, so a `waitRegistered` after this call waits for the new
   * registration. Add listeners before the call. After ten calls in a row, the node registers at most once a second. Calls
   * in between count as one, and the last call is never lost.
   */
  rearm(): void {
    call(() => behindProxy(this, 'PosemeshNode').#native.rearm())
  }

  /**
   * Stops the node: cancels its requests, rejects every wait with `ERR_STOPPED`, delivers the last events and frees the
   * port. No event follows. It may be called again.
   */
  async stop(options: StopOptions = {}): Promise<void> {
    const { timeoutMs = 5000 } = readOptions<StopOptions>(options, stopChecks)
    await behindProxy(this, 'PosemeshNode').#stop(timeoutMs)
  }

  /** Stops the node at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** The address of the callback server, such as `127.0.0.1:8080`; `null` without one. */
  get callbackAddress(): string | null {
    return call(() => behindProxy(this, 'PosemeshNode').#native.callbackAddress())
  }

  /** The address of this process's admin server, such as `127.0.0.1:9090`; `null` without `adminBind`. */
  get adminAddress(): string | null {
    return call(() => behindProxy(this, 'PosemeshNode').#native.adminAddress())
  }

  /**
   * The node's Ethereum address: `0x` and 40 lowercase hex digits.
   *
   * @throws {PosemeshError} `ERR_NOT_FOUND` for a robot, which has no wallet.
   */
  get walletAddress(): string {
    return call(() => behindProxy(this, 'PosemeshNode').#native.walletAddress())
  }

  /**
   * Signs bytes with the node's key as a wallet does (EIP-191 `personal_sign`): `0x` and 130 hex digits.
   *
   * @throws {PosemeshError} `ERR_NOT_FOUND` if the key is not in this process: a robot has none, and with a `signer` only
   * the signer can sign.
   */
  sign(message: Uint8Array): string {
    return call(() => behindProxy(this, 'PosemeshNode').#native.sign(bytes(message)))
  }

  /** As for every emitter. */
  override removeAllListeners(...event: [eventName?: string | symbol]): this {
    super.removeAllListeners(...event)
    // This also removed the hooks that watch for other listeners.
    behindProxy(this, 'PosemeshNode').#watchListeners()
    return this
  }

  /** Lets the node keep the process alive while it runs. This is the default. */
  ref(): this {
    behindProxy(this, 'PosemeshNode').#reference(true)
    return this
  }

  /** Lets the process end while the node runs. Pending waits do not keep it alive either. */
  unref(): this {
    behindProxy(this, 'PosemeshNode').#reference(false)
    return this
  }

  /** The JSON of the node. It contains no secret. */
  toJSON(): { walletAddress: string | null; callbackAddress: string | null; status: Status } {
    const walletAddress = behindProxy(this, 'PosemeshNode').#native.walletAddress()
    return {
      walletAddress: isFailure(walletAddress) ? null : walletAddress,
      callbackAddress: this.callbackAddress,
      status: this.status(),
    }
  }

  /** Debug output. It contains no secret. */
  [inspect.custom](depth: number, options: InspectOptions): string {
    const shown = () => inspect(this.toJSON(), { ...options, depth: options.depth ?? 2 })
    return `PosemeshNode ${depth < 0 ? '{…}' : shown()}`
  }

  static async #accessToken(self: PosemeshNode, options: WaitOptions | undefined): Promise<AccessToken> {
    const checked = readWait(options)
    const node = behindProxy(self, 'PosemeshNode')
    const held = node.#token.read()
    if (held) return held
    const read = node.#native.accessToken()
    if (!isFailure(read)) return toAccessToken(read)
    if (read.code !== 'ERR_TIMEOUT') throw fromFailure(read)
    return toAccessToken((await node.#waits.begin('token', checked)) as Token)
  }

  async #stop(timeoutMs: number): Promise<void> {
    // Listeners that are added from now on receive the last events, also those of a node that is unreferenced.
    this.#subscribe()
    call(() => this.#native.keepAlive(true))
    try {
      await this.#untilStopped(timeoutMs)
    } catch (error) {
      call(() => this.#native.keepAlive(this.#referenced))
      throw error
    }
  }

  /** Core observes the limit itself, but its result arrives through libuv's pool, which may be busy. */
  #untilStopped(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timedOut = () => reject(new PosemeshError('ERR_TIMEOUT', STOP_TIMED_OUT))
      const timer = startTimer(timeoutMs + POOL_GRACE_MS, timedOut)
      const stopped = async () => {
        const failure = await this.#native.stop(timeoutMs)
        if (isFailure(failure)) throw fromFailure(failure)
        await this.#untilClosed
      }
      stopped().then(resolve, reject).finally(() => clearTimeout(timer))
    })
  }

  #reference(yes: boolean): void {
    this.#referenced = yes
    call(() => this.#native.keepAlive(yes))
  }

  #receive(message: Message): void {
    // Waits and requests are settled at once, because they begin only after the caller has the node.
    if (message.type === 'waited') {
      this.#waits.end(message)
    } else if (message.type === 'handled') {
      this.#routes.end(message)
    } else if (this.#early) {
      this.#early.push(message)
    } else {
      this.#dispatch(message)
    }
  }

  #dispatch(message: Notice): void {
    if (message.type !== 'closed') return emitEvent(this, message)
    // Log records arrive through another channel. One turn later, those that were written before have arrived.
    setImmediate(() => {
      for (const end of this.#endings) end()
      this.#endLogEvents?.()
      this.#closed()
    })
  }

  /** Watches for listeners, because the addon sends events and log records, which involve two more threads, only to them. */
  #watchListeners(): void {
    // The types of a node's events do not include these two, which every emitter has.
    const emitter = this as unknown as EventEmitter
    for (const [event, hook] of this.#hooks) {
      if (!emitter.listeners(event).includes(hook)) emitter.on(event, hook)
    }
  }

  #listenerAdded(event: unknown): void {
    if (isSent(event)) this.#subscribe()
    if (event !== 'log' || this.#endLogEvents || !this.status().running) return
    this.#endLogEvents = listen(this, this.#logLevel, (record) => this.emit('log', record))
  }

  #listenerRemoved(event: unknown): void {
    // One turn later, so that a loop around `once` receives all events.
    if (isSent(event)) setImmediate(() => this.#unsubscribeUnheard())
    if (event !== 'log' || this.listenerCount('log') > 0) return
    this.#endLogEvents?.()
    this.#endLogEvents = null
  }

  #subscribe(): void {
    if (this.#subscribed) return
    this.#subscribed = true
    call(() => this.#native.sendEvents(true))
  }

  #unsubscribeUnheard(): void {
    if (!this.#subscribed || sentEvents.some((event) => this.listenerCount(event) > 0)) return
    this.#subscribed = false
    call(() => this.#native.sendEvents(false))
  }
}

/** How long after the limit core's own error may arrive, which is more precise. */
const POOL_GRACE_MS = 100

const STOP_TIMED_OUT =
  "not stopped in time: all threads of Node.js's pool (UV_THREADPOOL_SIZE) are busy; call stop again to continue waiting"
