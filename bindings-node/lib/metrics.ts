/** The metrics of a node. */

import { call } from './error.js'
import type { NativeNode } from './native.js'
import type { Role, State } from './status.js'

/** How the attempts to register ended. */
export interface RegistrationAttempts {
  /** DDS registered the node. */
  readonly success: number
  /** Another online node has the wallet. */
  readonly conflict: number
  /** DDS refused the registration. */
  readonly rejected: number
  /** DDS could not be reached or did not send a valid response. */
  readonly unavailable: number
  /** `rearm()` was called during the attempt, so the attempt does not count. */
  readonly cancelled: number
}

/** How the node noticed that DDS no longer knew it. */
export interface RegistrationsLost {
  /** DDS did not know the node when it signed in. */
  readonly unknownNode: number
  /** DDS stopped probing the node. See `healthcheckTtlSecs`. */
  readonly probesStopped: number
}

/** The callbacks of DDS, by what became of them. */
export interface Callbacks {
  /** The callback had a new secret. */
  readonly accepted: number
  /** The callback had the secret that the node already has. */
  readonly unchanged: number
  /** It was refused with 409, because no registration waited for it. */
  readonly notWaiting: number
  /** It was refused with 403, because this registration already has another secret, or it was for another node. */
  readonly forbidden: number
  /** It was refused because it is not a callback: too large, too slow, not JSON, or without its fields. */
  readonly malformed: number
}

/** How the sign-ins for an access token ended. */
export interface SignIns {
  /** DDS issued a token. */
  readonly success: number
  /** DDS refused the sign-in. */
  readonly rejected: number
  /** DDS did not know the node, which then registers again. */
  readonly unknownNode: number
  /** DDS could not be reached or did not send a valid response. */
  readonly unavailable: number
}

/** The requests to one endpoint of DDS. */
export interface DdsRequests {
  /** DDS did what it was asked for. */
  readonly success: number
  /** DDS refused it. */
  readonly rejected: number
  /** DDS could not be reached or did not send a valid response. */
  readonly unavailable: number
  /** How many seconds all of them together took. */
  readonly seconds: number
}

/**
 * The metrics of a node. The counters begin with 0 at its start, and count what this process has done: in a cluster, only the
 * leader registers and counts callbacks.
 */
export interface Metrics {
  readonly state: State
  readonly role: Role
  readonly hasSecret: boolean
  /** Whether the state cannot currently be written to `stateDir` or `stateUrl`, or followed there. */
  readonly persistenceFailing: boolean
  /** Registration attempts that failed since the last success. */
  readonly registrationConsecutiveFailures: number
  /** Sign-ins for an access token that failed since the last success. */
  readonly signInConsecutiveFailures: number
  /** How far the clock of DDS is ahead of this machine's clock, in milliseconds; negative if it is behind. */
  readonly clockSkewMs: number
  /** When DDS last confirmed a registration. */
  readonly registeredAt: Date | null
  /** When DDS last probed the node. */
  readonly lastProbeAt: Date | null
  /** When the next registration attempt is due, while the node waits for it. */
  readonly nextAttemptAt: Date | null
  /** When the current access token expires. */
  readonly tokenExpiresAt: Date | null
  readonly registrationAttempts: RegistrationAttempts
  readonly registrationsLost: RegistrationsLost
  readonly callbacks: Callbacks
  /** How often DDS has probed the node. */
  readonly healthProbes: number
  readonly signIns: SignIns
  /** The requests to DDS, by endpoint: for a challenge, for registrations, and for access tokens. */
  readonly dds: { readonly challenge: DdsRequests; readonly register: DdsRequests; readonly verify: DdsRequests }
  /** Events that were dropped because the program was too slow. */
  readonly eventsDropped: number
}

/** The content type of `metricsText()`. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** @internal */
export function readMetrics(node: NativeNode): Metrics {
  const date = (seconds: number | null) => (seconds === null ? null : new Date(seconds * 1000))
  const metrics = call(() => node.metrics())
  return {
    ...metrics,
    registeredAt: date(metrics.registeredAt),
    lastProbeAt: date(metrics.lastProbeAt),
    nextAttemptAt: date(metrics.nextAttemptAt),
    tokenExpiresAt: date(metrics.tokenExpiresAt),
  }
}
