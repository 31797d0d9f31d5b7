/** The events of a node. */

import type { EventEmitter } from 'node:events'

import { type PosemeshError, fromFailure } from './error.js'
import type { LogRecord } from './log.js'
import type { Message } from './native.js'
import type { State } from './status.js'

interface NodeEvent {
  /** When it happened. */
  readonly at: Date
  /** How many events of this node were dropped just before this one because the program was too slow. */
  readonly dropped: number
}

/** The state of the node changed. */
export interface StatusEvent extends NodeEvent {
  /** The state before. */
  readonly previous: State
  /** The state now. */
  readonly state: State
  /** @deprecated Use {@link previous}. */
  readonly from: State
  /** @deprecated Use {@link state}. */
  readonly to: State
}

/** DDS sent a new secret. {@link PosemeshNode.readSecret} returns it. */
export interface SecretEvent extends NodeEvent {
  /** 1 for the first secret, then one more for each new one. */
  readonly version: number
}

/** A registration attempt failed. The node retries by itself. */
export interface AttemptFailedEvent extends NodeEvent {
  /** `ERR_REJECTED` or `ERR_UNAVAILABLE`, with the text that DDS sent. */
  readonly error: PosemeshError
  /** Milliseconds until the next attempt. */
  readonly retryInMs: number
}

/** DDS probed the callback server. */
export type HealthcheckEvent = NodeEvent

/** The node received a new access token. {@link PosemeshNode.accessToken} returns it. */
export interface TokenRefreshedEvent extends NodeEvent {
  /** When the token expires, by the clock of DDS. */
  readonly expiresAt: Date
}

/** DDS no longer knows the node. The node registers again by itself. */
export interface RegistrationLostEvent extends NodeEvent {
  /** How the node noticed, with the text that DDS sent. */
  readonly reason: string
}

/** The events of a node and their arguments. There is no `'error'` event, because the node retries by itself. */
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

/** @internal Emits an event that the addon sent. */
export function emitEvent(
  node: EventEmitter<PosemeshNodeEvents>,
  message: Exclude<Message, { type: 'waited' | 'handled' | 'closed' }>,
): void {
  const common = { at: new Date(message.at), dropped: message.dropped }
  switch (message.type) {
    case 'status': {
      const { previous, state } = message
      node.emit('status', { previous, state, from: previous, to: state, ...common })
      break
    }
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
