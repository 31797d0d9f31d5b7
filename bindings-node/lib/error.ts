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

const codes: ReadonlySet<unknown> = new Set(Object.values(ErrorCode))

/** Calls the addon. Its errors become ours, with a stack that leads to the caller. */
export function call<T>(native: () => T): T {
  try {
    return native()
  } catch (error) {
    throw toPosemeshError(error)
  }
}

/** What the addon threw, as an error of ours; anything else as it is. */
export function toPosemeshError(error: unknown): unknown {
  // Not asked by `instanceof`: under Jest the addon and this file have an `Error` each.
  const { code, message } = error as { code?: unknown; message: string }
  return codes.has(code) ? new PosemeshError(code as ErrorCode, message) : error
}

/** Checks a time span in milliseconds. */
export function checkTimeout(timeoutMs: unknown): void {
  if (typeof timeoutMs !== 'number') throw typeError('timeoutMs', 'a number', timeoutMs)
  if (!(timeoutMs >= 0)) throw new RangeError(`timeoutMs must be 0 or more, got ${timeoutMs}`)
}

/** A TypeError that names what was wrong and the type it had, never the value: that may be a secret. */
export function typeError(name: string, expected: string, value: unknown): TypeError {
  const type = value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value
  return Object.assign(new TypeError(`${name} must be ${expected}, got ${type}`), { code: 'ERR_INVALID_ARG_TYPE' })
}
