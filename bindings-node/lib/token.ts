/** Access tokens: what a registered node shows to the services behind DDS. */

import { inspect, type InspectOptions } from 'node:util'

import { native } from './binary.js'

/**
 * An access token. `value` shows in no debug print and in no JSON: take care where it goes.
 *
 * A node makes them; see {@link PosemeshNode.accessToken}. In tests of your own you may, too.
 */
export class AccessToken {
  readonly #value: string

  /** When it expires, by the clock of DDS. */
  readonly expiresAt: Date

  constructor(value: string, expiresAt: Date) {
    this.#value = value
    this.expiresAt = expiresAt
    Object.freeze(this)
  }

  /** The token itself, for an `Authorization: Bearer` header. */
  get value(): string {
    return this.#value
  }

  /**
   * What the token says about the node, such as `node_id` or `capabilities`; `undefined` if it is no JWT. Read without
   * verifying the signature: use them as hints and never as proof.
   */
  get claims(): Record<string, unknown> | undefined {
    const text = native.tokenClaims(this.#value)
    return text === null ? undefined : (JSON.parse(text) as Record<string, unknown>)
  }

  /** What a debug print shows, also one that asks for what getters return. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    return `AccessToken ${inspect({ expiresAt: this.expiresAt }, options)}`
  }
}
