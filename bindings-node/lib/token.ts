/** Access tokens, which a registered node sends to the services behind DDS. */

import { inspect, type InspectOptions } from 'node:util'

import { native } from './binary.js'
import type { Changes } from './changes.js'
import { call } from './error.js'
import type { NativeNode, Token } from './native.js'
import { behindProxy, makeReachable } from './proxy.js'
import { now, unixNow } from './timers.js'

/**
 * An access token. Its `value` does not appear in debug output or JSON. Do not log it.
 *
 * {@link PosemeshNode.accessToken} returns them. Tests may construct their own.
 */
export class AccessToken {
  readonly #value: string

  /** When it expires, by the clock of DDS. */
  declare readonly expiresAt: Date

  constructor(value: string, expiresAt: Date) {
    this.#value = value
    const expiry = expiresAt.getTime()
    // Callers share this object and a Date can be modified, so each caller receives its own Date.
    Object.defineProperty(this, 'expiresAt', { enumerable: true, get: () => new Date(expiry) })
    makeReachable(this)
    Object.freeze(this)
  }

  /** The token itself, for an `Authorization: Bearer` header. */
  get value(): string {
    return behindProxy(this, 'AccessToken').#value
  }

  /**
   * What the token says about the node, such as `node_id` or `capabilities`; `undefined` if it is not a JWT. The signature
   * is not verified: use the claims as hints and never as proof.
   */
  get claims(): Record<string, unknown> | undefined {
    const text = native.tokenClaims(this.value)
    return text === null ? undefined : (JSON.parse(text) as Record<string, unknown>)
  }

  /** Debug output. It does not contain the value, even if the output includes what getters return. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    return `AccessToken ${inspect({ expiresAt: this.expiresAt }, options)}`
  }
}

/** @internal */
export function toAccessToken({ value, expiresAt }: Token): AccessToken {
  return new AccessToken(value, new Date(expiresAt))
}

/** A token that was read from a node, and how long it may be returned without reading it again. */
interface Held {
  readonly token: AccessToken
  /** The token as a promise, which all callers share. */
  readonly promise: Promise<AccessToken>
  /** The count of changes before the token was read. */
  readonly count: number
  /**
   * The end of its time by both clocks. The monotonic clock stops while the machine sleeps, and the other one can be set,
   * so the token is used only as long as both allow it.
   */
  readonly until: number
  readonly untilUnix: number
  /** When both clocks were last checked, by the monotonic clock. */
  checked: number
}

/**
 * For how many milliseconds a check of both clocks holds, because reading a clock is most of the cost. A caller that received
 * the token this long ago is no better off.
 */
const CHECK_HOLDS = 1

/** @internal Reads the access token that one node holds. */
export class TokenReader {
  readonly #native: NativeNode
  readonly #changes: Changes
  #held: Held | undefined

  constructor(native: NativeNode, changes: Changes) {
    this.#native = native
    this.#changes = changes
  }

  /** Returns the token, or `undefined` if the node holds none that may be used. */
  read(): AccessToken | undefined {
    // Before the token is read, so that a change in between causes another read.
    const count = this.#changes.count()
    const held = this.#held
    return held && isCurrent(held, count) ? held.token : this.#readAnew(count)
  }

  /** As {@link read}, with a promise of the token. */
  readPromise(): Promise<AccessToken> | undefined {
    return this.read() && this.#held?.promise
  }

  /** Forgets the token that was read last. */
  forget(): void {
    this.#held = undefined
  }

  #readAnew(count: number | undefined): AccessToken | undefined {
    this.#held = undefined
    const read = call(() => this.#native.tryAccessToken())
    if (read === null) return undefined
    const token = toAccessToken(read.token)
    if (count !== undefined) {
      const [checked, { usableForMs }] = [now(), read]
      const until = { until: checked + usableForMs, untilUnix: unixNow() + usableForMs }
      this.#held = { token, promise: Promise.resolve(token), count, checked, ...until }
    }
    return token
  }
}

function isCurrent(held: Held, count: number | undefined): boolean {
  const time = now()
  if (count !== held.count || time >= held.until) return false
  if (time - held.checked < CHECK_HOLDS) return true
  held.checked = time
  return unixNow() < held.untilUnix
}
