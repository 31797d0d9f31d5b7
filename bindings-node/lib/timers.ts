/**
 * The timers of Node.js and its monotonic clock, taken when this package is loaded. Test runners replace the global
 * functions, and those of `node:timers`, by fakes that only move when a test says so; the threads of a node do not wait
 * for that.
 */

import { performance } from 'node:perf_hooks'
import timers from 'node:timers'

export const { setTimeout, clearTimeout, setImmediate } = timers

/** Milliseconds on the monotonic clock. */
export const now: () => number = performance.now.bind(performance)

/** What no timer can hold is "as long as it takes". */
const MAX_TIMER = 2 ** 31 - 1

/** Calls `done` after a time, if there is one. It does not keep the process alive: that is for the node to do. */
export function startTimer(timeoutMs: number | undefined, done: () => void): NodeJS.Timeout | undefined {
  return timeoutMs === undefined || timeoutMs > MAX_TIMER ? undefined : setTimeout(done, timeoutMs).unref()
}
