/** A running node. */

import { EventEmitter } from 'node:events'
import { inspect, type InspectOptions } from 'node:util'

import { native } from './binary.js'
import {
  EXTRA_AUTHORITIES,
  type PosemeshNodeOptions,
  type PosemeshNodeOverrides,
  environment,
  extraAuthorities,
  inCamelCase,
  toCore,
} from './config.js'
import { bytes } from './crypto.js'
import {
  AbortError,
  PosemeshError,
  call,
  fromFailure,
  isFailure,
  thisError,
  typeError,
  withCode,
} from './error.js'
import { type PosemeshNodeEvents, emitEvent, isSent, sentEvents } from './event.js'
import { type Logger, type LogLevel, checkLogger, listen, logLevels, write } from './log.js'
import type { Failure, Message, NativeNode, Token } from './native.js'
import { type Checks, checkSignal, checkTimeout, ownOptions, readOptions, withoutPrototype } from './options.js'
import { type Status, StatusReader } from './status.js'
import { clearTimeout, setImmediate, startTimer } from './timers.js'
import { AccessToken } from './token.js'
import { type WaitOptions, Waits, readWait } from './wait.js'

/** How long a stop may take. */
export interface StopOptions {
  /** Milliseconds after which the stop rejects with `ERR_TIMEOUT`; default 5000. */
  timeoutMs?: number | undefined
}

const stopChecks: Checks<StopOptions> = { timeoutMs: checkTimeout }

/** What happens to a node, and is not the end of a wait. */
type Notice = Exclude<Message, { type: 'waited' }>

/** Leads from a Proxy to the node behind it. */
const unwrap = Symbol('unwrap')

/** Only `start` and `fromEnv` make nodes. */
const internal = Symbol('internal')

/**
 * A node that registers with DDS and stays registered, until it is stopped.
 *
 * As a listening `http.Server` does, a running node keeps the process alive; see {@link unref}.
 *
 * @example
 * await using node = await PosemeshNode.start({ regSecret, secp256k1Privhex, capabilities, nodeVersion: '1.0.0' })
 * await node.waitRegistered({ timeoutMs: 30_000 })
 */
export class PosemeshNode extends EventEmitter<PosemeshNodeEvents> {
  /** Events that came before the caller could have a listener. */
  #early: Notice[] | null = []
  #native!: NativeNode
  #status!: StatusReader
  #waits!: Waits
  /** Whether the addon sends events. A node that starts does. */
  #subscribed = true
  #referenced = true
  #closed!: () => void
  readonly #untilClosed = new Promise<void>((resolve) => (this.#closed = resolve))
  readonly #logLevel: LogLevel
  /** Ends what the `logger` option began. */
  readonly #endLogger: () => void
  /** Ends what the first `'log'` listener began. */
  #endLogEvents: (() => void) | null = null
  readonly #hooks: readonly [event: string, hook: (event: unknown) => void][] = [
    ['newListener', (event) => this.#listenerAdded(event)],
    ['removeListener', (event) => this.#listenerRemoved(event)],
  ]

  private constructor(key: typeof internal, logger: Logger | undefined, logLevel: LogLevel) {
    if (key !== internal) {
      throw withCode(new TypeError('Illegal constructor; call PosemeshNode.start()'), 'ERR_ILLEGAL_CONSTRUCTOR')
    }
    super()
    // A function, because a Proxy that wraps the objects that it finds leaves functions alone.
    Object.defineProperty(this, unwrap, { value: () => this, configurable: true })
    this.#logLevel = logLevel
    this.#endLogger = logger ? listen(logger, logLevel, write(logger)) : () => {}
    this.#watchListeners()
  }

  /**
   * Checks the options, binds the callback address and starts registering. It does not wait for DDS.
   *
   * @throws {TypeError} An option has the wrong type.
   * @throws {PosemeshError} `ERR_INVALID_CONFIG`, `ERR_ALREADY_RUNNING`, `ERR_BIND`, `ERR_IO`.
   * @throws {AbortError} The signal was aborted. Nothing of the node is left then; if the signal was aborted already,
   * there never was anything.
   */
  static async start(options: PosemeshNodeOptions): Promise<PosemeshNode> {
    return PosemeshNode.#start(options, false)
  }

  /**
   * As {@link start}, with the options from the environment (`process.env`, of the worker where one calls it). What
   * `overrides` has wins, and its variables are then not read.
   */
  static async fromEnv(overrides: PosemeshNodeOverrides = {}): Promise<PosemeshNode> {
    return PosemeshNode.#start(overrides, true)
  }

  static async #start(given: PosemeshNodeOverrides, fromEnv: boolean): Promise<PosemeshNode> {
    const { logger, logLevel = 'info', signal, ...options } = ownOptions(given) as PosemeshNodeOverrides
    if (logger !== undefined) checkLogger(logger)
    if (!logLevels.includes(logLevel)) {
      throw new PosemeshError('ERR_INVALID_CONFIG', `logLevel is one of ${logLevels.join(', ')}`)
    }
    if (signal !== undefined) checkSignal(signal)
    const core = toCore(options)
    const variables = fromEnv ? environment(process.env, core) : withoutPrototype<string>([])
    const authorities = extraAuthorities(core, variables)
    if (authorities !== undefined) core['ca_file'] = authorities
    if (signal?.aborted) throw new AbortError(signal)

    const node = new PosemeshNode(internal, logger, logLevel)
    try {
      const started = await startNative(core, variables, (message) => node.#receive(message), signal)
      if (isFailure(started)) throw startError(started, authorities)
      node.#native = started
      node.#waits = new Waits(started)
      node.#status = new StatusReader(started)
    } catch (error) {
      node.#endLogger()
      throw error
    }
    // One turn of the event loop later, so that the caller's listeners miss nothing.
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
   * What the node is doing. It takes no lock and may be called as often as one likes: while nothing changes, and nothing
   * fails, it is the same object again.
   */
  status(): Status {
    return target(this).#status.read()
  }

  /** Waits until the node is registered. */
  async waitRegistered(options: WaitOptions = {}): Promise<void> {
    await target(this).#waits.begin('registered', readWait(options))
  }

  /**
   * Waits until the node holds a secret, and returns it.
   *
   * @throws {PosemeshError} `ERR_NOT_FOUND` at once when no secret can arrive: the node holds none, and neither
   * `callbackBind` nor `stateDir` is set. `ERR_TIMEOUT`, `ERR_STOPPED`.
   * @throws {AbortError} The signal was aborted.
   */
  async waitSecret(options: WaitOptions = {}): Promise<string> {
    await target(this).#waits.begin('secret', readWait(options))
    // A node that has had a secret keeps one.
    return this.readSecret() as string
  }

  /** The node secret; `null` before DDS has sent one. It stays readable after a stop. */
  readSecret(): string | null {
    return call(() => target(this).#native.readSecret())
  }

  /**
   * An access token for the services behind DDS. While a good one is held, that is it; else the node signs in, once it
   * is registered, and however many callers wait. From the first call on the node renews the token by itself before it
   * expires.
   *
   * @throws {PosemeshError} `ERR_REJECTED`: DDS refuses the sign-in. `ERR_TIMEOUT`, with what the last attempt failed
   * with; `ERR_STOPPED`.
   * @throws {AbortError} The signal was aborted.
   */
  async accessToken(options: WaitOptions = {}): Promise<AccessToken> {
    const checked = readWait(options)
    const node = target(this)
    const held = node.#native.accessToken()
    if (!isFailure(held)) return toAccessToken(held)
    if (held.code !== 'ERR_TIMEOUT') throw fromFailure(held)
    return toAccessToken((await node.#waits.begin('token', checked)) as Token)
  }

  /**
   * Says that a token is no good any more: a service answered it with 401, say. It does nothing if the node holds
   * another one by now, so that many requests that fail with one token cause one sign-in. Without an argument, whatever
   * token is held is meant. The new token comes at once; only when the refused one itself replaced another less than a
   * second ago, it comes when that second is over.
   */
  invalidateToken(token?: AccessToken | string): void {
    const value = token instanceof AccessToken ? token.value : token
    if (value !== undefined && typeof value !== 'string') throw typeError('token', 'an AccessToken or a string', value)
    call(() => target(this).#native.invalidateToken(value))
  }

  /**
   * Registers again. The state is `disconnected` at once: a `waitRegistered` after it waits for the new registration. Add
   * listeners before the call. After ten calls in a row the node registers at most once a second: calls in between count
   * as one, and the last one is never lost.
   */
  rearm(): void {
    call(() => target(this).#native.rearm())
  }

  /**
   * Ends the node: cancels what is in flight, rejects every wait with `ERR_STOPPED`, delivers the last events and frees
   * the port. After it, no event follows. Calling it again is fine.
   */
  async stop(options: StopOptions = {}): Promise<void> {
    const { timeoutMs = 5000 } = readOptions<StopOptions>(options, stopChecks)
    await target(this).#stop(timeoutMs)
  }

  /** Stops the node at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Where the callback server listens, such as `127.0.0.1:8080`; `null` without one. */
  get callbackAddress(): string | null {
    return call(() => target(this).#native.callbackAddress())
  }

  /** The node's Ethereum address: `0x` and 40 lowercase hex digits. */
  get walletAddress(): string {
    return call(() => target(this).#native.walletAddress())
  }

  /** Signs bytes with the node's key as a wallet does (EIP-191 `personal_sign`): `0x` and 130 hex digits. */
  sign(message: Uint8Array): string {
    return call(() => target(this).#native.sign(bytes(message)))
  }

  /** As every emitter does it. */
  override removeAllListeners(...event: [eventName?: string | symbol]): this {
    super.removeAllListeners(...event)
    // Also those that watch the others.
    target(this).#watchListeners()
    return this
  }

  /** Keeps the process alive while the node runs. That is the default. */
  ref(): this {
    target(this).#reference(true)
    return this
  }

  /** Lets the process end although the node runs; pending waits do not keep it alive either. */
  unref(): this {
    target(this).#reference(false)
    return this
  }

  /** What `JSON.stringify` shows: no secret. */
  toJSON(): { walletAddress: string; callbackAddress: string | null; status: Status } {
    const { walletAddress, callbackAddress } = this
    return { walletAddress, callbackAddress, status: this.status() }
  }

  /** What a debug print shows: no secret. */
  [inspect.custom](depth: number, options: InspectOptions): string {
    const shown = () => inspect(this.toJSON(), { ...options, depth: options.depth ?? 2 })
    return `PosemeshNode ${depth < 0 ? '{…}' : shown()}`
  }

  async #stop(timeoutMs: number): Promise<void> {
    // What a node has to say at its end is heard by those who begin to listen now, and of one that is unreferenced, too.
    this.#subscribe()
    call(() => this.#native.keepAlive(true))
    try {
      await this.#untilStopped(timeoutMs)
    } catch (error) {
      call(() => this.#native.keepAlive(this.#referenced))
      throw error
    }
  }

  /** Core keeps to the limit itself, but its answer comes through the pool of libuv, which may be busy. */
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
    // Waits are settled at once: nobody can have begun one without having the node.
    if (message.type === 'waited') {
      this.#waits.end(message)
    } else if (this.#early) {
      this.#early.push(message)
    } else {
      this.#dispatch(message)
    }
  }

  #dispatch(message: Notice): void {
    if (message.type !== 'closed') return emitEvent(this, message)
    // Log records come another way: one turn later, those that were written before have arrived.
    setImmediate(() => {
      this.#endLogger()
      this.#endLogEvents?.()
      this.#closed()
    })
  }

  /** The addon is asked for events and log records only while somebody listens: each is work for two more threads. */
  #watchListeners(): void {
    // The two events that every emitter has are not among those of a node.
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
    // One turn later: a loop around `once` is to miss nothing.
    if (isSent(event)) setImmediate(() => this.#unsubscribeUnheard())
    if (event !== 'log' || this.listenerCount('log') > 0) return
    this.#endLogEvents?.()
    this.#endLogEvents = null
  }

  #subscribe(): void {
    if (this.#subscribed) return
    this.#subscribed = true
    call(() => this.#native.hearEvents(true))
  }

  #unsubscribeUnheard(): void {
    if (!this.#subscribed || sentEvents.some((event) => this.listenerCount(event) > 0)) return
    this.#subscribed = false
    call(() => this.#native.hearEvents(false))
  }
}

function toAccessToken({ value, expiresAt }: Token): AccessToken {
  return new AccessToken(value, new Date(expiresAt))
}

/** Core's own error says more: it may arrive this much after the limit. */
const POOL_GRACE_MS = 100

const STOP_TIMED_OUT =
  "not stopped in time: all threads of Node.js's pool (UV_THREADPOOL_SIZE) are busy; call stop again to go on waiting"

/** The node itself, where a method was called on a Proxy: private fields do not show through one. */
function target(node: PosemeshNode): PosemeshNode {
  const unwrapped = (node as { [unwrap]?: unknown } | undefined)?.[unwrap]
  if (typeof unwrapped !== 'function') throw thisError('PosemeshNode')
  return unwrapped()
}

/** Starts, unless the signal is aborted before the pool of libuv has a thread for it. */
function startNative(
  options: Record<string, string>,
  variables: Record<string, string>,
  deliver: (message: Message) => void,
  signal: AbortSignal | undefined,
): Promise<NativeNode | Failure> {
  const cancellation = new native.StartCancellation()
  return new Promise((resolve, reject) => {
    const abort = () => {
      if (cancellation.cancel()) reject(new AbortError(signal as AbortSignal))
    }
    signal?.addEventListener('abort', abort)
    const start = async () => native.start(options, variables, deliver, cancellation)
    start().then(resolve, reject).finally(() => signal?.removeEventListener('abort', abort))
  })
}

/** Why a start failed, in the names that options have here. */
function startError(failure: Failure, authorities: string | undefined): PosemeshError {
  const error = fromFailure(failure)
  error.message = inCamelCase(failure.message)
  if (authorities !== undefined) error.message = error.message.replace(/^caFile(?= )/, EXTRA_AUTHORITIES)
  return error
}
