/**
 * The timers and clocks of Node.js, captured when this package is loaded. Test runners replace the global functions, and
 * those of `node:timers`, with fakes that advance only when a test says so. The threads of a node do not wait for that.
 */

import { performance } from 'node:perf_hooks'
import timers from 'node:timers'

export const { setTimeout, clearTimeout, setImmediate } = timers

/** Milliseconds on the monotonic clock. */
export const now: () => number = performance.now.bind(performance)

/** Milliseconds since 1970 (UTC). */
export const { now: unixNow } = Date

/** The longest time that a timer supports. A longer one means no limit. */
const MAX_TIMER = 2 ** 31 - 1

/** Calls `done` after a time, if there is one. The timer does not keep the process alive, because the node does. */
export function startTimer(timeoutMs: number | undefined, done: () => void): NodeJS.Timeout | undefined {
  return timeoutMs === undefined || timeoutMs > MAX_TIMER ? undefined : setTimeout(done, timeoutMs).unref()
}
