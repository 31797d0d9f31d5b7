/** Errors and their codes. */

import type { Failure } from './native.js'

/** The error codes. They never change, and are the same in every language of this library. */
export const ErrorCode = Object.freeze({
  /** An argument of a call is not valid. */
  InvalidArgument: 'ERR_INVALID_ARGUMENT',
  /** An option is unknown, missing, or has an invalid value. */
  InvalidConfig: 'ERR_INVALID_CONFIG',
  /** What the call asks for does not exist. */
  NotFound: 'ERR_NOT_FOUND',
  /** A buffer of a C program is too small. Does not occur in Node.js. */
  BufferTooSmall: 'ERR_BUFFER_TOO_SMALL',
  /** The call took longer than its limit. */
  Timeout: 'ERR_TIMEOUT',
  /** The node was stopped. */
  Stopped: 'ERR_STOPPED',
  /** A node with this wallet and DDS, or with this `stateDir`, already runs in this process, perhaps in another worker. */
  AlreadyRunning: 'ERR_ALREADY_RUNNING',
  /** The callback server could not bind its address. */
  Bind: 'ERR_BIND',
  /** An operation on a file or socket failed. */
  Io: 'ERR_IO',
  /** The node was started by another process, before a `fork`. */
  Forked: 'ERR_FORKED',
  /** The call would wait for its own thread. Does not occur in Node.js. */
  WouldDeadlock: 'ERR_WOULD_DEADLOCK',
  /** DDS rejected the request. */
  Rejected: 'ERR_REJECTED',
  /** DDS cannot be reached or did not send a valid response. */
  Unavailable: 'ERR_UNAVAILABLE',
  /** A bug in this library, caught at its boundary. Please report it. */
  Panic: 'ERR_PANIC',
  /** A bug in this library. Please report it. */
  Internal: 'ERR_INTERNAL',
} as const)

export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode]

/** An error of the library. `code` is for programs. `message` is for people and says what to do next. */
export class PosemeshError extends Error {
  static {
    this.prototype.name = 'PosemeshError'
  }

  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }

  /** The JSON of the error. Without this method it would contain only `code`. */
  toJSON(): { name: string; code: ErrorCode; message: string } {
    return { name: this.name, code: this.code, message: this.message }
  }
}

/** A call was ended by its `AbortSignal`. `cause` is the reason of the signal. */
export class AbortError extends Error {
  static {
    this.prototype.name = 'AbortError'
  }

  readonly code = 'ABORT_ERR'

  constructor(signal: AbortSignal) {
    super('The operation was aborted', { cause: signal.reason })
  }
}

/**
 * @internal Calls the addon. The addon returns a failure instead of throwing an exception, because V8 treats an exception
 * of an addon as uncaught even if JavaScript catches it. Here the failure becomes an error with the stack of the caller.
 */
export function call<T>(native: () => T | Failure): T {
  const outcome = native()
  if (isFailure(outcome)) throw fromFailure(outcome)
  return outcome
}

/** @internal Whether the addon returned a failure. No other value that it returns has a code. */
export function isFailure(outcome: unknown): outcome is Failure {
  return typeof outcome === 'object' && outcome !== null && Object.hasOwn(outcome, 'code')
}

/** @internal */
export function fromFailure({ code, message }: Failure): PosemeshError {
  // A test compares the codes with core's.
  return new PosemeshError(code as ErrorCode, message)
}

/** A TypeError that names the argument and its type, but never its value, which may be a secret. */
export function typeError(name: string, expected: string, value: unknown): TypeError {
  const type = value === null ? 'null' : Array.isArray(value) ? 'an array' : className(value) ?? typeof value
  return withCode(new TypeError(`${name} must be ${expected}, got ${type}`), 'ERR_INVALID_ARG_TYPE')
}

/** The class of an object, if it has one, because "got object" does not say what is wrong with an AbortSignal. */
function className(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { constructor } = value
  return typeof constructor === 'function' && constructor.name !== 'Object' ? constructor.name : undefined
}

/** A TypeError for a value of the right type that is not valid. The codes are those of Node.js. */
export const valueError = (message: string) => withCode(new TypeError(message), 'ERR_INVALID_ARG_VALUE')

export const rangeError = (message: string) => withCode(new RangeError(message), 'ERR_OUT_OF_RANGE')

/** A TypeError for a method that was called on an object of another class. */
export const thisError = (name: string) => withCode(new TypeError(`this is not an instance of ${name}`), 'ERR_INVALID_THIS')

export function withCode<E extends Error>(error: E, code: string): E {
  return Object.assign(error, { code })
}
