/**
 * Registers a posemesh node with the discovery service (DDS) and keeps it registered.
 *
 * @module posemesh-node
 */

import './engine.js'

export type { CoreOptions, PosemeshNodeOptions, PosemeshNodeOverrides } from './config.js'
export { ethAddress, signEip191 } from './crypto.js'
export { AbortError, ErrorCode, PosemeshError } from './error.js'
export type {
  AttemptFailedEvent,
  HealthcheckEvent,
  PosemeshNodeEvents,
  RegistrationLostEvent,
  SecretEvent,
  StatusEvent,
  TokenRefreshedEvent,
} from './event.js'
export { type AuthorizedFetchOptions, authorizedFetch } from './fetch.js'
export type { LogLevel, LogRecord, Logger } from './log.js'
export {
  type Callbacks,
  type DdsRequests,
  METRICS_CONTENT_TYPE,
  type Metrics,
  type RegistrationAttempts,
  type RegistrationsLost,
  type SignIns,
} from './metrics.js'
export { PosemeshNode, type Readiness, type ReadyOptions, type StopOptions } from './node.js'
export type { Signer } from './signer.js'
export type { Role, State, Status } from './status.js'
export { AccessToken } from './token.js'
export type { WaitOptions } from './wait.js'
