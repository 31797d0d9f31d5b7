/**
 * Log records. They are the library's, not one node's: every logger and every `'log'` listener hears of all nodes of
 * the process, workers included. What nobody wants is never made into a record, and records never keep a process alive.
 */

import { native } from './binary.js'
import { call, typeError } from './error.js'
import type { LogRecord as NativeLogRecord } from './native.js'

export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

/** From the most important one on. */
export const logLevels: readonly LogLevel[] = ['error', 'warn', 'info', 'debug']

/** What `console`, pino, winston, bunyan and Fastify's `app.log` have in common. */
export type Logger = { [level in LogLevel]: (message: string) => unknown }

/** One log record. */
export interface LogRecord {
  readonly at: Date
  readonly level: LogLevel
  /** The part of the library that wrote it, such as `posemesh_node::register`. */
  readonly target: string
  /** One line of text. */
  readonly message: string
  /** Records that were lost just before this one, because the program did not keep up. */
  readonly dropped: number
}

interface Listener {
  readonly level: LogLevel
  readonly listen: (record: LogRecord) => void
}

/** Everyone in this environment who listens. The key makes a logger that is given twice one listener. */
const listeners = new Map<object, Listener[]>()

const sink = new native.LogSink(({ at, ...rest }: NativeLogRecord) => {
  const record: LogRecord = Object.freeze({ at: new Date(at), ...rest })
  for (const [listener] of listeners.values()) {
    if (listener && rank(record.level) <= rank(listener.level)) listener.listen(record)
  }
})

const rank = (level: LogLevel) => logLevels.indexOf(level)

/** Listens until the returned function is called. The first of several listeners with one key is told. */
export function listen(key: object, level: LogLevel, tell: (record: LogRecord) => void): () => void {
  const listener: Listener = { level, listen: tell }
  listeners.set(key, [...(listeners.get(key) ?? []), listener])
  updateLevel()
  return () => {
    const rest = (listeners.get(key) ?? []).filter((other) => other !== listener)
    if (rest.length > 0) listeners.set(key, rest)
    else listeners.delete(key)
    updateLevel()
  }
}

function updateLevel(): void {
  const ranks = Array.from(listeners.values()).flatMap(([listener]) => (listener ? [rank(listener.level)] : []))
  call(() => sink.setLevel(logLevels[Math.max(...ranks)] ?? null))
}

/** Writes records to a logger, as lines. */
export function write(logger: Logger): (record: LogRecord) => void {
  return ({ level, target, message, dropped }) => {
    if (dropped > 0) logger.warn(`posemesh_node: ${dropped} log records were lost`)
    logger[level](`${target}: ${message}`)
  }
}

export function checkLogger(logger: Logger): void {
  if (typeof logger !== 'object' || logger === null) throw typeError('logger', 'an object', logger)
  for (const level of logLevels) {
    if (typeof logger[level] !== 'function') throw typeError(`logger.${level}`, 'a function', logger[level])
  }
}
