/**
 * Log records. They belong to the library and not to one node: every logger and every `'log'` listener receives those of
 * all nodes of the process, including those in workers. Without a listener, no records are made. Records never keep a
 * process alive.
 */

import { native } from './binary.js'
import { call, typeError } from './error.js'
import type { LogRecord as NativeLogRecord } from './native.js'

/** How severe a log record is. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

/** From the most severe to the least severe. */
export const logLevels: readonly LogLevel[] = ['error', 'warn', 'info', 'debug']

/** The methods that `console`, pino, winston, bunyan and Fastify's `app.log` have in common. */
export type Logger = { [level in LogLevel]: (message: string) => unknown }

/** One log record. */
export interface LogRecord {
  readonly at: Date
  readonly level: LogLevel
  /** The part of the library that wrote it, such as `posemesh_node::register`. */
  readonly target: string
  /** One line of text. */
  readonly message: string
  /** How many records were dropped just before this one because the program was too slow. */
  readonly dropped: number
}

interface Listener {
  readonly level: LogLevel
  readonly receive: (record: LogRecord) => void
}

/** The listeners of this environment. The key makes a logger that is passed twice one listener. */
const listeners = new Map<object, Listener[]>()

const sink = new native.LogSink(({ at, ...rest }: NativeLogRecord) => {
  const record: LogRecord = Object.freeze({ at: new Date(at), ...rest })
  for (const [listener] of listeners.values()) {
    if (listener && rank(record.level) <= rank(listener.level)) listener.receive(record)
  }
})

const rank = (level: LogLevel) => logLevels.indexOf(level)

/** Listens until the returned function is called. Of several listeners with one key, the first receives the records. */
export function listen(key: object, level: LogLevel, receive: (record: LogRecord) => void): () => void {
  const listener: Listener = { level, receive }
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
    if (dropped > 0) logger.warn(`posemesh_node: ${dropped} log records were dropped`)
    logger[level](`${target}: ${message}`)
  }
}

export function checkLogger(logger: Logger): void {
  if (typeof logger !== 'object' || logger === null) throw typeError('logger', 'an object', logger)
  for (const level of logLevels) {
    if (typeof logger[level] !== 'function') throw typeError(`logger.${level}`, 'a function', logger[level])
  }
}
