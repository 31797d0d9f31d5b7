/** What a node is doing. */

import { PosemeshError } from './error.js'
import type { Status as NativeStatus } from './native.js'

/** Where a node stands with DDS. */
export type State = 'disconnected' | 'registering' | 'registered'

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
  /** Milliseconds until the next attempt, while the registrar waits for one. */
  readonly nextAttemptInMs: number | null
}

/** @internal */
export function toStatus(status: NativeStatus): Status {
  const date = (seconds: number | undefined) => (seconds === undefined ? null : new Date(seconds * 1000))
  const { lastError } = status
  return Object.freeze({
    state: status.state,
    running: status.running,
    hasSecret: status.hasSecret,
    secretVersion: status.secretVersion,
    lastHealthcheck: date(status.lastHealthcheck),
    registeredAt: date(status.registeredAt),
    attempts: status.attempts,
    consecutiveFailures: status.consecutiveFailures,
    lastError: lastError ? new PosemeshError(lastError.code, lastError.message) : null,
    nextAttemptInMs: status.nextAttemptInMs ?? null,
  })
}
