/** What a node tells its listeners. */

import type { EventEmitter } from 'node:events'

import { type PosemeshError, fromFailure } from './error.js'
import type { LogRecord } from './log.js'
import type { Message } from './native.js'
import type { State } from './status.js'

interface NodeEvent {
  /** When it happened. */
  readonly at: Date
  /** Events of this node that were lost just before this one, because the program did not keep up. */
  readonly dropped: number
}

/** The node moved from one state to another. */
export interface StatusEvent extends NodeEvent {
  readonly from: State
  readonly to: State
}

/** DDS sent a new secret; {@link PosemeshNode.readSecret} has it. */
export interface SecretEvent extends NodeEvent {
  /** 1 for the first secret, then one more for each. */
  readonly version: number
}

/** A registration attempt failed; the registrar goes on by itself. */
export interface AttemptFailedEvent extends NodeEvent {
  /** `ERR_REJECTED` or `ERR_UNAVAILABLE`, with DDS's own words. */
  readonly error: PosemeshError
  /** Whole milliseconds until the next attempt. */
  readonly retryInMs: number
}

/** DDS probed `/health`. */
export type HealthcheckEvent = NodeEvent

/** A new access token is held; {@link PosemeshNode.accessToken} has it. */
export interface TokenRefreshedEvent extends NodeEvent {
  readonly expiresAt: Date
}

/** DDS does not know this node any more, so it registers again by itself. */
export interface RegistrationLostEvent extends NodeEvent {
  /** How the loss was noticed, with DDS's own words. */
  readonly reason: string
}

/** The events of a node and what their listeners get. There is no `'error'`: a background retry is none. */
export interface PosemeshNodeEvents {
  status: [event: StatusEvent]
  secret: [event: SecretEvent]
  attemptFailed: [event: AttemptFailedEvent]
  healthcheck: [event: HealthcheckEvent]
  tokenRefreshed: [event: TokenRefreshedEvent]
  registrationLost: [event: RegistrationLostEvent]
  log: [record: LogRecord]
}

/** @internal The events that the addon sends. */
export const sentEvents = [
  'status',
  'secret',
  'attemptFailed',
  'healthcheck',
  'tokenRefreshed',
  'registrationLost',
] as const satisfies readonly (keyof PosemeshNodeEvents)[]

/** @internal Whether the addon sends an event of this name. */
export const isSent = (event: unknown) => (sentEvents as readonly unknown[]).includes(event)

/** @internal Emits what the addon sent. */
export function emitEvent(
  node: EventEmitter<PosemeshNodeEvents>,
  message: Exclude<Message, { type: 'waited' | 'closed' }>,
): void {
  const common = { at: new Date(message.at), dropped: message.dropped }
  switch (message.type) {
    case 'status':
      node.emit('status', { from: message.from, to: message.to, ...common })
      break
    case 'secret':
      node.emit('secret', { version: message.version, ...common })
      break
    case 'attemptFailed': {
      const { error, retryInMs } = message
      node.emit('attemptFailed', { error: fromFailure(error), retryInMs, ...common })
      break
    }
    case 'healthcheck':
      node.emit('healthcheck', common)
      break
    case 'tokenRefreshed':
      node.emit('tokenRefreshed', { expiresAt: new Date(message.expiresAt), ...common })
      break
    case 'registrationLost':
      node.emit('registrationLost', { reason: message.reason, ...common })
      break
  }
}
