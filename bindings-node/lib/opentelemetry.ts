/**
 * The metrics of a node in OpenTelemetry: `import { observeNodeMetrics } from 'posemesh-node/opentelemetry'`.
 *
 * @module posemesh-node/opentelemetry
 */

import './engine.js'

import { typeError } from './error.js'
import { followMetrics } from './families.js'
import type { NodeSource } from './source.js'

/** What {@link observeNodeMetrics} needs of a `Meter` of `@opentelemetry/api`. */
export interface MeterLike<Instrument> {
  /** Creates an instrument whose values only rise. */
  createObservableCounter(name: string, options: { description: string }): Instrument
  /** Creates an instrument whose values rise and fall. */
  createObservableGauge(name: string, options: { description: string }): Instrument
  /** Calls `observe` at each collection of these instruments. */
  addBatchObservableCallback(observe: (result: ResultLike<Instrument>) => void, instruments: Instrument[]): void
}

/** What receives the values of instruments. */
interface ResultLike<Instrument> {
  observe(instrument: Instrument, value: number, attributes: Record<string, string>): void
}

/**
 * Creates observable instruments for the metrics of a node, with the names that they have in Prometheus. As long as there is
 * no node, they are those of a node that has done nothing.
 *
 * @example
 * import { metrics } from '@opentelemetry/api'
 * observeNodeMetrics(metrics.getMeter('my-service'), node)
 *
 * @throws {TypeError} An argument has the wrong type.
 */
export function observeNodeMetrics<Instrument>(meter: MeterLike<Instrument>, node: NodeSource): void {
  if (typeof meter?.addBatchObservableCallback !== 'function') throw typeError('meter', 'a Meter', meter)
  const metrics = followMetrics(node)
  const instruments = metrics().map(({ name, kind, help: description }) =>
    kind === 'counter' ? meter.createObservableCounter(name, { description }) : meter.createObservableGauge(name, { description }),
  )
  meter.addBatchObservableCallback((result) => {
    for (const [index, { samples }] of metrics().entries()) {
      for (const { labels, value } of samples) result.observe(instruments[index] as Instrument, value, labels)
    }
  }, instruments)
}
