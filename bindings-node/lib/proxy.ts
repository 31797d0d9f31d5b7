/** Finds the object behind a Proxy, because private fields are not accessible through one. */

import { thisError } from './error.js'

/** The property that returns the function that returns the object itself. */
const self = Symbol('self')

/** Makes an object reachable through any Proxy around it. */
export function makeReachable(object: object): void {
  const reach = () => object
  // A function, because a Proxy that wraps the objects that it returns does not wrap functions, or calls them. A getter,
  // because a Proxy must return the value of a property that cannot change, even if it wraps functions.
  Object.defineProperty(object, self, { get: () => reach })
}

/** Returns the object behind `object`, which may be a Proxy. The error names the expected class. */
export function behindProxy<T extends object>(object: T, className: string): T {
  const reach = (object as { [self]?: unknown } | undefined)?.[self]
  if (typeof reach !== 'function') throw thisError(className)
  return reach()
}
