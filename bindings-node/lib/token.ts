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
  /** The count of changes before the token was read. */
  readonly count: number
  /**
   * The end of its time by both clocks. The monotonic clock stops while the machine sleeps, and the other one can be set,
   * so the token is used only as long as both allow it.
   */
  readonly until: number
  readonly untilUnix: number
}

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
    if (held && count === held.count && now() < held.until && unixNow() < held.untilUnix) return held.token
    this.#held = undefined
    const read = call(() => this.#native.tryAccessToken())
    if (read === null) return undefined
    const token = toAccessToken(read.token)
    if (count !== undefined) {
      const { usableForMs } = read
      this.#held = { token, count, until: now() + usableForMs, untilUnix: unixNow() + usableForMs }
    }
    return token
  }

  /** Forgets the token that was read last. */
  forget(): void {
    this.#held = undefined
  }
}
