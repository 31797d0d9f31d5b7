/** The waits of a node: how long they take, and what ends them. */

import { inCamelCase } from './config.js'
import { AbortError, PosemeshError, call, fromFailure, isFailure } from './error.js'
import type { Failure, Message, NativeNode, Token } from './native.js'
import { type Checks, checkSignal, checkTimeout, readOptions } from './options.js'
import { clearTimeout, startTimer } from './timers.js'

/** How long a wait may take. */
export interface WaitOptions {
  /** Milliseconds after which the wait rejects with `ERR_TIMEOUT`; by default it takes as long as it takes. */
  timeoutMs?: number | undefined
  /** Ends the wait with an `AbortError`. */
  signal?: AbortSignal | undefined
}

const checks: Checks<WaitOptions> = { timeoutMs: checkTimeout, signal: checkSignal }

/** Checks the options of a wait, and that it may still begin. */
export function readWait(given: WaitOptions): WaitOptions {
  const options = readOptions<WaitOptions>(given, checks)
  if (options.signal?.aborted) throw new AbortError(options.signal)
  return options
}

/** What a node can be waited for. */
type Awaited = 'registered' | 'secret' | 'token'

/** Settles a wait: with an error, or without. */
type Settle = (error?: Error) => void

/** Names options as they are called here where core says what is missing. Words of DDS stay as they are. */
const waitError = ({ code, message }: Failure) =>
  fromFailure({ code, message: code === 'ERR_NOT_FOUND' ? inCamelCase(message) : message })

/** @internal The waits of one node that have begun. */
export class Waits {
  readonly #native: NativeNode
  readonly #pending = new Map<number, Settle>()

  constructor(native: NativeNode) {
    this.#native = native
  }

  /** Waits, and resolves with the token, if it is one that was waited for. */
  begin(what: Awaited, { timeoutMs, signal }: WaitOptions): Promise<Token | null> {
    const wait = call(() => this.#native.beginWait(what))
    return new Promise((resolve, reject) => {
      const settle: Settle = (error) => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        this.#pending.delete(wait)
        const brought = this.#native.endWait(wait)
        if (error) reject(error)
        else if (isFailure(brought)) reject(fromFailure(brought))
        else resolve(brought)
      }
      const abort = () => settle(new AbortError(signal as AbortSignal))
      const timer = startTimer(timeoutMs, () => settle(this.#timedOut(what, timeoutMs as number)))
      signal?.addEventListener('abort', abort)
      this.#pending.set(wait, settle)
    })
  }

  /** The addon has ended a wait. */
  end({ wait, error }: Extract<Message, { type: 'waited' }>): void {
    this.#pending.get(wait)?.(error ? waitError(error) : undefined)
  }

  #timedOut(what: Awaited, timeoutMs: number): PosemeshError {
    if (what === 'token') {
      const held = this.#native.accessToken()
      // Core knows what the last sign-in failed with.
      if (isFailure(held)) return fromFailure(held)
    }
    const missing = { registered: 'is not registered', secret: 'holds no secret', token: 'holds no access token' }[what]
    const status = this.#native.status()
    if (isFailure(status)) return fromFailure(status)
    const { state, lastError } = status
    const reason = lastError ? `; last attempt: ${lastError.message}` : ''
    return new PosemeshError('ERR_TIMEOUT', `the node ${missing} after ${timeoutMs} ms (status ${state})${reason}`)
  }
}
