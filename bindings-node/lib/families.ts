/** The metrics of a node as a list, for the adapters to libraries of metrics. */

import { native } from './binary.js'
import type { MetricFamily } from './native.js'
import { familiesOf } from './node.js'
import { type NodeSource, follow } from './source.js'

/**
 * @internal Checks a source, and returns the function that reads the metrics of its node. As long as there is no node, they
 * are those of a node that has done nothing. The list always has the same metrics, in the same order. All calls of one turn
 * return the same list, because an adapter calls once for each metric.
 */
export function followMetrics(source: NodeSource): () => MetricFamily[] {
  const current = follow(source)
  let families: MetricFamily[] | undefined
  return () => {
    if (!families) {
      const node = current()
      families = node ? familiesOf(node) : native.idleMetricFamilies()
      queueMicrotask(() => (families = undefined))
    }
    return families
  }
}
