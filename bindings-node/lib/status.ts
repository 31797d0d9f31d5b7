/** What a node is doing. */

import { inspect } from 'node:util'

import { inCamelCase } from './config.js'
import { PosemeshError, call, fromFailure } from './error.js'
import type { NativeNode, Status as NativeStatus } from './native.js'

/** Where a node stands with DDS. */
export type State = 'disconnected' | 'registering' | 'registered'

/**
 * Which part a node has among the processes that share its `stateDir`. The leader runs the registrar and the callback
 * server; without a `stateDir` every node does. A follower shows what the leader does, and takes over when that one ends.
 */
export type Role = 'leader' | 'follower'

/** A consistent picture of a node at one moment. */
export interface Status {
  /** Where the node stands with DDS. */
  readonly state: State
  /** False once the node was stopped. */
  readonly running: boolean
  /** Whether a node secret is held. */
  readonly hasSecret: boolean
  /** 0 = no secret so far; each new secret adds one. */
  readonly secretVersion: number
  /** When DDS last probed `/health`. */
  readonly lastHealthcheck: Date | null
  /** When DDS last confirmed a registration. */
  readonly registeredAt: Date | null
  /** Registration attempts begun since the start. */
  readonly attempts: number
  /** Attempts that failed since the last success. */
  readonly consecutiveFailures: number
  /** What the last attempt failed with, in DDS's own words; `null` after a success. */
  readonly lastError: PosemeshError | null
  /** Whole milliseconds until the next attempt, while the registrar waits for one. */
  readonly nextAttemptInMs: number | null
  /** Which part the node has among those that share its `stateDir`. */
  readonly role: Role
  /** Why the state cannot be kept in `stateDir` at present; `null` when it can. The node goes on in memory meanwhile. */
  readonly persistenceError: PosemeshError | null
  /** When the access token that is held expires; `null` before somebody asked for one. */
  readonly tokenExpiresAt: Date | null
  /** Sign-ins for an access token that failed since the last one that succeeded. */
  readonly signInFailures: number
  /**
   * How far the clock of DDS is ahead of this machine's, in milliseconds; negative when it is behind. DDS tells whole
   * seconds: 0 as long as nothing contradicts that.
   */
  readonly clockSkewMs: number
  /**
   * Whether DDS has not called the callback server within a minute of the registration. DDS calls only a node whose URL
   * it knows and can reach.
   */
  readonly callbackOverdue: boolean
}

/** @internal Reads the status of one node. */
export class StatusReader {
  readonly #native: NativeNode
  /** Another number after every change. */
  readonly #changes: Int32Array | null
  #seen = 0
  /** What was read last, while it may be read again. */
  #last: Status | null = null

  constructor(native: NativeNode) {
    this.#native = native
    const shared = call(() => native.statusChanges())
    this.#changes = shared && new Int32Array(shared)
  }

  read(): Status {
    if (!this.#changes) return this.#readAnew()
    // Before the status: what changes meanwhile makes it be read once more.
    const now = Atomics.load(this.#changes, 0)
    if (this.#last && now === this.#seen) return this.#last
    const status = this.#readAnew()
    this.#seen = now
    // The time left runs, errors collect properties, and DDS may have other words for the same failure.
    const lasts = status.nextAttemptInMs === null && !status.lastError && !status.persistenceError
    this.#last = lasts ? status : null
    return status
  }

  #readAnew(): Status {
    return toStatus(call(() => this.#native.status()))
  }
}

function toStatus(status: NativeStatus): Status {
  const date = (seconds: number | null) => (seconds === null ? null : new Date(seconds * 1000))
  const { lastError, persistenceError } = status
  const picture: Status = {
    state: status.state,
    running: status.running,
    hasSecret: status.hasSecret,
    secretVersion: status.secretVersion,
    // A Date can be set, and many share this object: each gets a Date of its own.
    get lastHealthcheck() {
      return date(status.lastHealthcheck)
    },
    get registeredAt() {
      return date(status.registeredAt)
    },
    attempts: status.attempts,
    consecutiveFailures: status.consecutiveFailures,
    lastError: lastError && fromFailure(lastError),
    nextAttemptInMs: status.nextAttemptInMs,
    role: status.role,
    persistenceError: persistenceError
      ? new PosemeshError(persistenceError.code, inCamelCase(persistenceError.message))
      : null,
    get tokenExpiresAt() {
      return date(status.tokenExpiresAt)
    },
    signInFailures: status.signInFailures,
    clockSkewMs: status.clockSkewMs,
    callbackOverdue: status.callbackOverdue,
  }
  // A debug print shows what the getters return.
  Object.defineProperty(picture, inspect.custom, { value: () => ({ ...picture }) })
  return Object.freeze(picture)
}
