/** The waits of a node: their limits, and how they end. */

import { type Checks, checkSignal, checkTimeout, readOptions, withoutPrototype } from './arguments.js'
import { inCamelCase } from './config.js'
import { AbortError, PosemeshError, call, fromFailure, isFailure } from './error.js'
import type { Failure, Message, NativeNode, Token } from './native.js'
import { clearTimeout, startTimer } from './timers.js'

/** The limits of a wait. */
export interface WaitOptions {
  /** Milliseconds after which the wait rejects with `ERR_TIMEOUT`. By default there is no limit. */
  timeoutMs?: number | undefined
  /** Ends the wait with an `AbortError`. */
  signal?: AbortSignal | undefined
}

const checks: Checks<WaitOptions> = { timeoutMs: checkTimeout, signal: checkSignal }

const noLimits: WaitOptions = Object.freeze(withoutPrototype<never>([]))

/** Checks the options of a wait, and throws if its signal is already aborted. */
export function readWait(given: WaitOptions | undefined): WaitOptions {
  if (given === undefined) return noLimits
  const options = readOptions<WaitOptions>(given, checks)
  if (options.signal?.aborted) throw new AbortError(options.signal)
  return options
}

/** What a program can wait for. */
type Awaited = 'registered' | 'secret' | 'token'

/** Ends a wait, with an error or without. */
type Settle = (error?: Error) => void

/** Replaces core's option names where core says what is missing. Text from DDS remains as it is. */
const waitError = ({ code, message }: Failure) =>
  fromFailure({ code, message: code === 'ERR_NOT_FOUND' ? inCamelCase(message) : message })

/** @internal The waits of one node that have begun. */
export class Waits {
  readonly #native: NativeNode
  readonly #pending = new Map<number, Settle>()

  constructor(native: NativeNode) {
    this.#native = native
  }

  /** Waits, and resolves with the token if the wait is for one. */
  begin(what: Awaited, { timeoutMs, signal }: WaitOptions): Promise<Token | null> {
    const wait = call(() => this.#native.beginWait(what))
    return new Promise((resolve, reject) => {
      const settle: Settle = (error) => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        this.#pending.delete(wait)
        const result = this.#native.endWait(wait)
        if (error) reject(error)
        else if (isFailure(result)) reject(fromFailure(result))
        else resolve(result)
      }
      const abort = () => settle(new AbortError(signal as AbortSignal))
      const timer = startTimer(timeoutMs, () => settle(this.#timedOut(what, timeoutMs as number)))
      signal?.addEventListener('abort', abort)
      this.#pending.set(wait, settle)
    })
  }

  /** Settles a wait that the addon has ended. */
  end({ wait, error }: Extract<Message, { type: 'waited' }>): void {
    this.#pending.get(wait)?.(error ? waitError(error) : undefined)
  }

  #timedOut(what: Awaited, timeoutMs: number): PosemeshError {
    const status = this.#native.status()
    if (isFailure(status)) return fromFailure(status)
    const { state, role, lastError, persistenceError } = status
    // Only a leader registers, and this process has none.
    const cutOff = state !== 'registered' && role === 'follower' ? persistenceError : null
    if (what === 'token' && !cutOff) {
      const held = this.#native.accessToken()
      // Core's error includes that of the last sign-in.
      if (isFailure(held)) return fromFailure(held)
    }
    const missing = { registered: 'is not registered', secret: 'has no secret', token: 'has no access token' }[what]
    const attempt = lastError ? `; last attempt: ${lastError.message}` : ''
    const reason = cutOff ? `; ${inCamelCase(cutOff.message)}` : attempt
    return new PosemeshError('ERR_TIMEOUT', `the node ${missing} after ${timeoutMs} ms (status ${state})${reason}`)
  }
}
