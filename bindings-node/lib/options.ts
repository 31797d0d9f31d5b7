/** Checks what a program passes to a call. */

import { rangeError, typeError, valueError } from './error.js'

/** For each option of a call, the function that throws when its value cannot be used. */
export type Checks<Options> = { readonly [Name in keyof Required<Options>]: (value: unknown) => void }

/**
 * The options of a call, checked. Only what the object itself has is an option: what it inherits is not the caller's,
 * and may be anybody's. An option that is `undefined` is not set.
 */
export function readOptions<Options extends object>(options: unknown, checks: Checks<Options>): Options {
  const own = ownOptions(options)
  for (const [name, value] of Object.entries(own)) {
    if (!Object.hasOwn(checks, name)) {
      const known = Object.keys(checks).join(', ')
      throw valueError(`unknown option ${JSON.stringify(name)}; the options are ${known}`)
    }
    checks[name as keyof Options](value)
  }
  return own as Options
}

/** The options that are set, in an object that inherits nothing. */
export function ownOptions(options: unknown): object {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw typeError('options', 'an object', options)
  }
  const own = Object.entries(options).filter(([, value]) => value !== undefined)
  // Such as an AbortSignal in place of { signal }, which would set nothing.
  if (own.length === 0 && !isPlain(options)) throw typeError('options', 'a plain object', options)
  return withoutPrototype(own)
}

/** An object with these entries that inherits nothing. */
export function withoutPrototype<T>(entries: Iterable<readonly [string, T]>): Record<string, T> {
  return Object.setPrototypeOf(Object.fromEntries(entries), null)
}

/** Whether an object inherits from nothing, or from the `Object.prototype` of any realm. */
function isPlain(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** Checks a time span in milliseconds. */
export function checkTimeout(timeoutMs: unknown): void {
  if (typeof timeoutMs !== 'number') throw typeError('timeoutMs', 'a number', timeoutMs)
  if (!(timeoutMs >= 0)) throw rangeError(`timeoutMs must be 0 or more, got ${timeoutMs}`)
}

export function checkSignal(signal: unknown): void {
  // As Node.js itself tells one, so that polyfills and other realms work.
  if (!(typeof signal === 'object' && signal !== null && 'aborted' in signal)) {
    throw typeError('signal', 'an AbortSignal', signal)
  }
}

export function checkFunction(name: string): (value: unknown) => void {
  return (value) => {
    if (typeof value !== 'function') throw typeError(name, 'a function', value)
  }
}
