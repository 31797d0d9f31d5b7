/** Checks the arguments that a program passes to a call. */

import { native } from './binary.js'
import { rangeError, typeError, valueError } from './error.js'

/** For each option of a call, the function that throws if its value is not valid. */
export type Checks<Options> = { readonly [Name in keyof Required<Options>]: (value: unknown) => void }

/**
 * Checks the options of a call and returns them. Inherited properties are not options, because the caller may not have
 * set them. An option that is `undefined` is not set.
 */
export function readOptions<Options extends object>(options: unknown, checks: Checks<Options>): Options {
  const own = ownOptions(options)
  for (const [name, value] of Object.entries(own)) {
    if (!Object.hasOwn(checks, name)) {
      throw valueError(unknownOption(name, Object.keys(checks)))
    }
    checks[name as keyof Options](value)
  }
  return own as Options
}

/** The message for an option that does not exist. */
export function unknownOption(name: string, known: string[]): string {
  return `unknown option ${JSON.stringify(name)}; ${native.suggestion(name, known)}`
}

/** Returns the options that are set, in an object without a prototype. */
export function ownOptions(options: unknown): object {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw typeError('options', 'an object', options)
  }
  const own = Object.entries(options).filter(([, value]) => value !== undefined)
  // For example an AbortSignal instead of { signal }, which would set nothing.
  if (own.length === 0 && !isPlain(options)) throw typeError('options', 'a plain object', options)
  return withoutPrototype(own)
}

/** Makes an object from entries that inherits nothing. */
export function withoutPrototype<T>(entries: Iterable<readonly [string, T]>): Record<string, T> {
  return Object.setPrototypeOf(Object.fromEntries(entries), null)
}

/** Whether an object inherits nothing, or inherits only from the `Object.prototype` of any realm. */
function isPlain(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** Checks a time in milliseconds. */
export function checkTimeout(timeoutMs: unknown): void {
  if (typeof timeoutMs !== 'number') throw typeError('timeoutMs', 'a number', timeoutMs)
  if (!(timeoutMs >= 0)) throw rangeError(`timeoutMs must be 0 or more, got ${timeoutMs}`)
}

export function checkSignal(signal: unknown): void {
  // The same check as in Node.js, so that polyfills and signals of other realms are accepted.
  if (!(typeof signal === 'object' && signal !== null && 'aborted' in signal)) {
    throw typeError('signal', 'an AbortSignal', signal)
  }
}

export function checkFunction(name: string): (value: unknown) => void {
  return (value) => {
    if (typeof value !== 'function') throw typeError(name, 'a function', value)
  }
}
