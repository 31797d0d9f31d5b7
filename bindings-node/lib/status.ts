/** The status of a node. */

import { inspect } from 'node:util'

import { inCamelCase } from './config.js'
import type { Changes } from './changes.js'
import { type PosemeshError, call, fromFailure } from './error.js'
import type { NativeNode, Status as NativeStatus } from './native.js'

/** The state of a node's registration. */
export type State = 'disconnected' | 'registering' | 'registered'

/**
 * The role of a node among the processes that share its `stateDir` or `stateUrl`. The leader registers. Without either,
 * every node is a leader. A follower has the status of the leader, and takes over when the leader ends.
 */
export type Role = 'leader' | 'follower'

/** A consistent snapshot of a node. */
export interface Status {
  /** The state of the registration. */
  readonly state: State
  /** False after a stop. */
  readonly running: boolean
  /** Whether the node has a node secret. */
  readonly hasSecret: boolean
  /** 0 if there is no secret yet; each new secret adds one. */
  readonly secretVersion: number
  /** When DDS last probed the callback server. */
  readonly lastHealthcheck: Date | null
  /** When DDS last confirmed a registration. */
  readonly registeredAt: Date | null
  /** Registration attempts since the start. */
  readonly attempts: number
  /** Attempts that failed since the last success. */
  readonly consecutiveFailures: number
  /** The error of the last attempt, with the text that DDS sent; `null` after a success. */
  readonly lastError: PosemeshError | null
  /** Milliseconds until the next attempt, while the node waits for it. */
  readonly nextAttemptInMs: number | null
  /** The role of the node among those that share its `stateDir` or `stateUrl`. */
  readonly role: Role
  /**
   * Why the state cannot currently be written to `stateDir` or `stateUrl`, or followed there; `null` if it can. The node keeps
   * it in memory meanwhile.
   */
  readonly persistenceError: PosemeshError | null
  /** When the current access token expires; `null` before the first call of {@link PosemeshNode.accessToken}. */
  readonly tokenExpiresAt: Date | null
  /** Sign-ins for an access token that failed since the last success. */
  readonly signInFailures: number
  /**
   * How far the clock of DDS is ahead of this machine's clock, in milliseconds; negative if it is behind. DDS sends whole
   * seconds, so this is 0 if the difference is too small to measure.
   */
  readonly clockSkewMs: number
  /** The id by which DDS knows the node, from its credentials or its access token; `null` while it is not known. */
  readonly nodeId: string | null
  /**
   * Whether DDS has not called the callback server within a minute of the registration. DDS only calls a node whose URL
   * it knows and can reach.
   */
  readonly callbackOverdue: boolean
}

/** @internal Reads the status of one node. */
export class StatusReader {
  readonly #native: NativeNode
  readonly #changes: Changes
  /** The status that was read last, if it may be returned again, and the count of changes before it was read. */
  #last: { readonly status: Status; readonly count: number } | undefined

  constructor(native: NativeNode, changes: Changes) {
    this.#native = native
    this.#changes = changes
  }

  read(): Status {
    // Before the status is read, so that a change in between causes another read.
    const count = this.#changes.count()
    if (this.#last && count === this.#last.count) return this.#last.status
    const status = toStatus(call(() => this.#native.status()))
    // The time until the next attempt passes, programs can add properties to errors, and DDS can send another text for the
    // same failure.
    const lasts = status.nextAttemptInMs === null && !status.lastError && !status.persistenceError
    this.#last = lasts && count !== undefined ? { status, count } : undefined
    return status
  }
}

function toStatus(status: NativeStatus): Status {
  const date = (seconds: number | null) => (seconds === null ? null : new Date(seconds * 1000))
  const { lastError, persistenceError } = status
  const snapshot: Status = {
    state: status.state,
    running: status.running,
    hasSecret: status.hasSecret,
    secretVersion: status.secretVersion,
    // Callers share this object and a Date can be modified, so each caller receives its own Date.
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
    persistenceError:
      persistenceError && fromFailure({ ...persistenceError, message: inCamelCase(persistenceError.message) }),
    get tokenExpiresAt() {
      return date(status.tokenExpiresAt)
    },
    signInFailures: status.signInFailures,
    clockSkewMs: status.clockSkewMs,
    nodeId: status.nodeId,
    callbackOverdue: status.callbackOverdue,
  }
  // Debug output shows what the getters return.
  Object.defineProperty(snapshot, inspect.custom, { value: () => ({ ...snapshot }) })
  return Object.freeze(snapshot)
}
