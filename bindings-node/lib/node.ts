/** A running node. */

import { EventEmitter } from 'node:events'
import { inspect, type InspectOptions } from 'node:util'

import { native } from './binary.js'
import { type PosemeshNodeOptions, type PosemeshNodeOverrides, environment, inCamelCase, toCore } from './config.js'
import { bytes } from './crypto.js'
import { AbortError, PosemeshError, call, checkTimeout, toPosemeshError, typeError } from './error.js'
import { type PosemeshNodeEvents, isSent, sentEvents } from './event.js'
import { type Logger, type LogLevel, listen, logLevels, write } from './log.js'
import type { Message, NativeNode, Token } from './native.js'
import { type Status, StatusReader } from './status.js'
import { AccessToken } from './token.js'

/** How long a wait may take. */
export interface WaitOptions {
  /** Milliseconds after which the wait rejects with `ERR_TIMEOUT`; by default it takes as long as it takes. */
  timeoutMs?: number | undefined
  /** Ends the wait with an `AbortError`. */
  signal?: AbortSignal | undefined
}

/** How long a stop may take. */
export interface StopOptions {
  /** Milliseconds after which the stop rejects with `ERR_TIMEOUT`; default 5000. */
  timeoutMs?: number | undefined
}

/** What a node can be waited for. */
type Awaited = 'registered' | 'secret' | 'token'

/** Settles a wait: with an error, or without. */
type Settle = (error?: Error) => void

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
  readonly #waits = new Map<number, Settle>()
  /** Events that came before the caller could have a listener. */
  #early: Message[] | null = []
  #native!: NativeNode
  #status!: StatusReader
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
    if (key !== internal) throw new TypeError('Illegal constructor; call PosemeshNode.start()')
    super()
    this.#logLevel = logLevel
    this.#endLogger = logger ? listen(logger, logLevel, write(logger)) : () => {}
    this.#watchListeners()
  }

  /**
   * Checks the options, binds the callback address and starts registering. It does not wait for DDS.
   *
   * @throws {TypeError} An option has the wrong type.
   * @throws {PosemeshError} `ERR_INVALID_CONFIG`, `ERR_ALREADY_RUNNING`, `ERR_BIND`, `ERR_IO`.
   * @throws {AbortError} The signal was aborted. Nothing of the node is left then.
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
    if (typeof given !== 'object' || given === null) throw typeError('options', 'an object', given)
    const { logger, logLevel = 'info', signal, ...options } = given
    checkLogger(logger)
    if (!logLevels.includes(logLevel)) {
      throw new PosemeshError('ERR_INVALID_CONFIG', `logLevel is one of ${logLevels.join(', ')}`)
    }
    checkSignal(signal)
    const core = toCore(options)
    const env = fromEnv ? environment(process.env, core) : {}

    const node = new PosemeshNode(internal, logger, logLevel)
    try {
      node.#native = await native.start(core, env, (message) => node.#receive(message))
      node.#status = new StatusReader(node.#native)
    } catch (error) {
      node.#endLogger()
      const failure = toPosemeshError(error)
      if (failure instanceof PosemeshError) failure.message = inCamelCase(failure.message)
      throw failure
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
    return this.#status.read()
  }

  /** Waits until the node is registered. */
  async waitRegistered(options: WaitOptions = {}): Promise<void> {
    await this.#wait('registered', options)
  }

  /** Waits until the node holds a secret, and returns it. */
  async waitSecret(options: WaitOptions = {}): Promise<string> {
    await this.#wait('secret', options)
    // A node that has had a secret keeps one.
    return this.readSecret() as string
  }

  /** The node secret; `null` before DDS has sent one. It stays readable after a stop. */
  readSecret(): string | null {
    return call(() => this.#native.readSecret())
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
    checkWait(options)
    const held = this.#heldToken()
    if (held instanceof AccessToken) return held
    if (held.code !== 'ERR_TIMEOUT') throw held
    return toAccessToken((await this.#wait('token', options)) as Token)
  }

  /**
   * Says that a token is no good any more: a service answered it with 401, say. It does nothing if the node holds
   * another one by now, so that many requests that fail with one token cause one sign-in. Without an argument, whatever
   * token is held is meant.
   */
  invalidateToken(token?: AccessToken | string): void {
    const value = token instanceof AccessToken ? token.value : token
    if (value !== undefined && typeof value !== 'string') throw typeError('token', 'an AccessToken or a string', value)
    call(() => this.#native.invalidateToken(value))
  }

  /**
   * Registers again. The state is `disconnected` at once: a `waitRegistered` after it waits for the new registration. Who
   * wants to hear of it, listens before.
   */
  rearm(): void {
    call(() => this.#native.rearm())
  }

  /**
   * Ends the node: cancels what is in flight, rejects every wait with `ERR_STOPPED`, delivers the last events and frees
   * the port. After it, no event follows. Calling it again is fine.
   */
  async stop({ timeoutMs = 5000 }: StopOptions = {}): Promise<void> {
    checkTimeout(timeoutMs)
    // What a node has to say at its end is heard by those who begin to listen now, and of one that is unreferenced, too.
    this.#subscribe()
    this.#native.keepAlive(true)
    try {
      await this.#native.stop(timeoutMs)
    } catch (error) {
      this.#native.keepAlive(this.#referenced)
      throw toPosemeshError(error)
    }
    await this.#untilClosed
  }

  /** Stops the node at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Where the callback server listens, such as `127.0.0.1:8080`; `null` without one. */
  get callbackAddress(): string | null {
    return call(() => this.#native.callbackAddress())
  }

  /** The node's Ethereum address: `0x` and 40 lowercase hex digits. */
  get walletAddress(): string {
    return call(() => this.#native.walletAddress())
  }

  /** Signs bytes with the node's key as a wallet does (EIP-191 `personal_sign`): `0x` and 130 hex digits. */
  sign(message: Uint8Array): string {
    return call(() => this.#native.sign(bytes(message)))
  }

  /** As every emitter does it. */
  override removeAllListeners(...event: [eventName?: string | symbol]): this {
    super.removeAllListeners(...event)
    // Also those that watch the others.
    this.#watchListeners()
    return this
  }

  /** Keeps the process alive while the node runs. That is the default. */
  ref(): this {
    return this.#reference(true)
  }

  /** Lets the process end although the node runs; pending waits do not keep it alive either. */
  unref(): this {
    return this.#reference(false)
  }

  /** What a debug print shows: no secret. */
  [inspect.custom](depth: number, options: InspectOptions): string {
    const { walletAddress, callbackAddress } = this
    const shown = { walletAddress, callbackAddress, status: this.status() }
    return `PosemeshNode ${depth < 0 ? '{…}' : inspect(shown, { ...options, depth: options.depth ?? 2 })}`
  }

  #reference(yes: boolean): this {
    this.#referenced = yes
    this.#native.keepAlive(yes)
    return this
  }

  /** The token that is held, or an error that says why there is none. */
  #heldToken(): AccessToken | PosemeshError {
    try {
      return toAccessToken(this.#native.accessToken())
    } catch (error) {
      return toPosemeshError(error) as PosemeshError
    }
  }

  /** Resolves with the token, if it is one that was waited for. */
  #wait(what: Awaited, options: WaitOptions): Promise<Token | null> {
    checkWait(options)
    const { timeoutMs, signal } = options
    const wait = call(() => this.#native.beginWait(what))
    return new Promise((resolve, reject) => {
      const settle: Settle = (error) => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        this.#waits.delete(wait)
        const token = this.#native.endWait(wait)
        if (error) reject(error)
        else resolve(token)
      }
      const abort = () => settle(new AbortError(signal as AbortSignal))
      const timer = startTimer(timeoutMs, () => settle(this.#timedOut(what, timeoutMs as number)))
      signal?.addEventListener('abort', abort)
      this.#waits.set(wait, settle)
    })
  }

  #timedOut(what: Awaited, timeoutMs: number): PosemeshError {
    if (what === 'token') {
      const held = this.#heldToken()
      // Core knows what the last sign-in failed with.
      if (held instanceof PosemeshError) return held
    }
    const missing = { registered: 'is not registered', secret: 'holds no secret', token: 'holds no access token' }[what]
    return new PosemeshError('ERR_TIMEOUT', `the node ${missing} after ${timeoutMs} ms; status() says why`)
  }

  #receive(message: Message): void {
    // Waits are settled at once: nobody can have begun one without having the node.
    if (message.type === 'waited') {
      const { error } = message
      this.#waits.get(message.wait)?.(error && new PosemeshError(error.code, error.message))
    } else if (this.#early) {
      this.#early.push(message)
    } else {
      this.#dispatch(message)
    }
  }

  #dispatch(message: Message): void {
    switch (message.type) {
      case 'status':
        this.emit('status', { from: message.from, to: message.to, ...common(message) })
        break
      case 'secret':
        this.emit('secret', { version: message.version, ...common(message) })
        break
      case 'attemptFailed': {
        const { error, retryInMs } = message
        this.emit('attemptFailed', {
          error: new PosemeshError(error.code, error.message),
          retryInMs,
          ...common(message),
        })
        break
      }
      case 'healthcheck':
        this.emit('healthcheck', common(message))
        break
      case 'tokenRefreshed':
        this.emit('tokenRefreshed', { expiresAt: new Date(message.expiresAt), ...common(message) })
        break
      case 'registrationLost':
        this.emit('registrationLost', { reason: message.reason, ...common(message) })
        break
      case 'closed':
        // Log records come another way: one turn later, those that were written before have arrived.
        setImmediate(() => {
          this.#endLogger()
          this.#endLogEvents?.()
          this.#closed()
        })
        break
    }
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

function common({ at, dropped }: { at: number; dropped: number }): { at: Date; dropped: number } {
  return { at: new Date(at), dropped }
}

function toAccessToken({ value, expiresAt }: Token): AccessToken {
  return new AccessToken(value, new Date(expiresAt))
}

/** It does not keep the process alive: that is for the node to do. */
function startTimer(timeoutMs: number | undefined, done: () => void): NodeJS.Timeout | undefined {
  // What no timer can hold is "as long as it takes".
  return timeoutMs === undefined || timeoutMs > MAX_TIMER ? undefined : setTimeout(done, timeoutMs).unref()
}

const MAX_TIMER = 2 ** 31 - 1

function checkWait({ timeoutMs, signal }: WaitOptions): void {
  if (timeoutMs !== undefined) checkTimeout(timeoutMs)
  checkSignal(signal)
  if (signal?.aborted) throw new AbortError(signal)
}

function checkSignal(signal: unknown): void {
  // As Node.js itself tells one, so that polyfills and other realms work.
  if (signal !== undefined && !(typeof signal === 'object' && signal !== null && 'aborted' in signal)) {
    throw typeError('signal', 'an AbortSignal', signal)
  }
}

function checkLogger(logger: Logger | undefined): void {
  if (logger === undefined) return
  if (typeof logger !== 'object' || logger === null) throw typeError('logger', 'an object', logger)
  for (const level of logLevels) {
    if (typeof logger[level] !== 'function') throw typeError(`logger.${level}`, 'a function', logger[level])
  }
}
