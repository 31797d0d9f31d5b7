/** Errors: their codes, and how those of the addon become JavaScript's. */

import type { Failure } from './native.js'

/** What went wrong, for programs: stable names, the same in every language that this library speaks. */
export const ErrorCode = Object.freeze({
  /** An argument of a call is not usable. */
  InvalidArgument: 'ERR_INVALID_ARGUMENT',
  /** An option is unknown, missing, or has a value that it cannot have. */
  InvalidConfig: 'ERR_INVALID_CONFIG',
  /** What was asked for is not there. */
  NotFound: 'ERR_NOT_FOUND',
  /** Not met in Node.js: a buffer of a C program is too small. */
  BufferTooSmall: 'ERR_BUFFER_TOO_SMALL',
  /** The time given for the call is over. */
  Timeout: 'ERR_TIMEOUT',
  /** The node was stopped. */
  Stopped: 'ERR_STOPPED',
  /** A node with this wallet and DDS, or with this `state_dir`, already runs in this process (in another worker, perhaps). */
  AlreadyRunning: 'ERR_ALREADY_RUNNING',
  /** The callback server could not bind its address. */
  Bind: 'ERR_BIND',
  /** A file or socket of this machine failed. */
  Io: 'ERR_IO',
  /** The node was started by another process, before a `fork`. */
  Forked: 'ERR_FORKED',
  /** Not met in Node.js: a call waits for the thread that makes it. */
  WouldDeadlock: 'ERR_WOULD_DEADLOCK',
  /** DDS said no. */
  Rejected: 'ERR_REJECTED',
  /** DDS is out of reach or gave no usable answer. */
  Unavailable: 'ERR_UNAVAILABLE',
  /** A bug in this library, caught at its border. Please report it. */
  Panic: 'ERR_PANIC',
  /** A bug in this library. Please report it. */
  Internal: 'ERR_INTERNAL',
} as const)

export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode]

/** A failure of the library. `code` is for programs, `message` for people: it says what to do next. */
export class PosemeshError extends Error {
  static {
    this.prototype.name = 'PosemeshError'
  }

  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }

  /** What `JSON.stringify` shows: an error has no property that it would show by itself but `code`. */
  toJSON(): { name: string; code: ErrorCode; message: string } {
    return { name: this.name, code: this.code, message: this.message }
  }
}

/** A call was ended through its `AbortSignal`; `cause` is the signal's reason. */
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
 * @internal Calls the addon. It returns a failure instead of throwing it, because to V8 an exception of an addon is uncaught
 * wherever JavaScript catches it. Here it becomes an error with a stack that leads to the caller.
 */
export function call<T>(native: () => T | Failure): T {
  const outcome = native()
  if (isFailure(outcome)) throw fromFailure(outcome)
  return outcome
}

/** @internal Whether the addon returned a failure. Nothing else that it returns has a code. */
export function isFailure(outcome: unknown): outcome is Failure {
  return typeof outcome === 'object' && outcome !== null && Object.hasOwn(outcome, 'code')
}

/** @internal */
export function fromFailure({ code, message }: Failure): PosemeshError {
  return new PosemeshError(code, message)
}

/** A TypeError that names what was wrong and the type it had, never the value: that may be a secret. */
export function typeError(name: string, expected: string, value: unknown): TypeError {
  const type = value === null ? 'null' : Array.isArray(value) ? 'an array' : className(value) ?? typeof value
  return withCode(new TypeError(`${name} must be ${expected}, got ${type}`), 'ERR_INVALID_ARG_TYPE')
}

/** The class of an object that has one: "got object" would not say what is wrong with an AbortSignal. */
function className(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { constructor } = value
  return typeof constructor === 'function' && constructor.name !== 'Object' ? constructor.name : undefined
}

/** A TypeError for a value that cannot be used although its type is right. The codes are those of Node.js. */
export const valueError = (message: string) => withCode(new TypeError(message), 'ERR_INVALID_ARG_VALUE')

export const rangeError = (message: string) => withCode(new RangeError(message), 'ERR_OUT_OF_RANGE')

/** A method was called on something that is not an object of its class. */
export const thisError = (name: string) => withCode(new TypeError(`this is not a ${name}`), 'ERR_INVALID_THIS')

export function withCode<E extends Error>(error: E, code: string): E {
  return Object.assign(error, { code })
}
