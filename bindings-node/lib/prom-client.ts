/**
 * The metrics of a node in prom-client: `import { collectNodeMetrics } from 'posemesh-node/prom-client'`.
 *
 * @module posemesh-node/prom-client
 */

import './engine.js'

import { type Checks, readOptions } from './arguments.js'
import { typeError } from './error.js'
import { followMetrics } from './families.js'
import type { NodeSource } from './source.js'

/** What {@link collectNodeMetrics} needs of the module prom-client, version 15. */
export interface PromClient<Registry> {
  readonly Gauge: new (configuration: never) => object
  readonly Counter: new (configuration: never) => object
  readonly register: Registry
}

/** The options of {@link collectNodeMetrics}. */
export interface CollectOptions<Registry> {
  /** The registry that gets the metrics. By default, `client.register`. */
  register?: Registry | undefined
}

const checks: Checks<CollectOptions<unknown>> = {
  register: (register) => {
    if (typeof register !== 'object' || register === null) throw typeError('register', 'a Registry', register)
  },
}

/** What the collection needs of a metric of prom-client. */
interface Metric {
  reset(): void
  set(labels: Record<string, string>, value: number): void
  inc(labels: Record<string, string>, value: number): void
}

/**
 * Adds the metrics of a node to a registry of prom-client. As long as there is no node, they are those of a node that has
 * done nothing. Where prom-client aggregates the workers of a cluster, counters are added up, and of each gauge, the largest
 * value is used.
 *
 * @example
 * import client from 'prom-client'
 * collectNodeMetrics(client, node)
 *
 * @throws {TypeError} An argument has the wrong type.
 * @throws {Error} The registry already has metrics of a node.
 */
export function collectNodeMetrics<Registry>(
  client: PromClient<Registry>,
  node: NodeSource,
  options: CollectOptions<NoInfer<Registry>> = {},
): void {
  if (typeof client?.Gauge !== 'function' || typeof client.Counter !== 'function') {
    throw typeError('client', 'the module prom-client', client)
  }
  const { register = client.register } = readOptions<CollectOptions<Registry>>(options, checks)
  const metrics = followMetrics(node)
  for (const [index, { name, kind, help, labelNames }] of metrics().entries()) {
    const update = kind === 'counter' ? 'inc' : 'set'
    function collect(this: Metric): void {
      this.reset()
      for (const { labels, value } of metrics()[index]?.samples ?? []) this[update](labels, value)
    }
    const aggregator = kind === 'counter' ? 'sum' : 'max'
    const configuration = { name, help, labelNames, aggregator, registers: [register], collect }
    new client[kind === 'counter' ? 'Counter' : 'Gauge'](configuration as never)
  }
}
