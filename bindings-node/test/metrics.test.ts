// The metrics of a node, whether it is ready, and the adapters to libraries of metrics.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { type Metrics, PosemeshNode } from 'posemesh-node'
import { observeNodeMetrics } from 'posemesh-node/opentelemetry'
import { collectNodeMetrics } from 'posemesh-node/prom-client'
import { linkServers } from './servers.js'
import { HANG_MS, localDds, newKey, startNode, until } from './support.js'

const require = createRequire(join(linkServers(), 'metrics.cjs'))

/** The samples of text for Prometheus, such as `name{label="value"}`, without their help. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const [, name = '', value] = /^(\S+(?: \S+)*) (\S+)$/.exec(line) ?? []
      return [name, Number(value)] as const
    }),
  )
}

const wait = { timeoutMs: HANG_MS }

describe('ready()', () => {
  // scenario: readiness
  it('says whether the node is registered and has a secret, and why not', async (t) => {
    const dds = await localDds(t, { callback: 'never' })
    await dds.inject('challenge', { fault: 'status', code: 403, body: 'not today' }, 1)
    const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0' })
    await until(() => node.status().lastError !== null)
    const { ready, reason } = node.ready()
    assert.equal(ready, false)
    assert.match(reason, /^not registered; .*not today/)

    node.rearm()
    await node.waitRegistered(wait)
    assert.deepEqual(node.ready(), { ready: true, reason: 'registered' })
    assert.match(node.ready({ secret: true }).reason, /^registered, but the node has no secret/)
    assert.equal(node.ready({ secret: true }).ready, false)
    await dds.setNodeUrl(`http://${node.callbackAddress}`)
    await dds.callBack()
    assert.equal(node.ready({ secret: true }).ready, true)
    assert.throws(() => node.ready({ secret: 1 as unknown as boolean }), { code: 'ERR_INVALID_ARG_TYPE' })
    assert.throws(() => node.ready({ secrets: true } as {}), { code: 'ERR_INVALID_ARG_VALUE' })

    await node.stop(wait)
    assert.deepEqual(node.ready(), { ready: false, reason: 'the node was stopped; start a new one' })
  })
})

describe('metrics()', () => {
  // scenario: metrics
  it('counts what the node does, and agrees with metricsText()', async (t) => {
    const dds = await localDds(t, { callback: 'never' })
    await dds.inject('challenge', { fault: 'status', code: 503, retryAfter: '0' }, 1)
    const started = Date.now()
    const secp256k1Privhex = newKey()
    const node = await startNode(t, dds, { secp256k1Privhex, callbackBind: '127.0.0.1:0' })
    await node.waitRegistered(wait)
    await dds.setNodeUrl(`http://${node.callbackAddress}`)
    for (const status of [200, 200]) assert.equal((await dds.callBack()).status, status)
    await dds.setSecret('another')
    assert.equal((await dds.callBack()).status, 403)
    await dds.probeHealth()
    await node.accessToken(wait)

    const metrics = node.metrics()
    const { registeredAt, lastProbeAt, tokenExpiresAt, dds: requests, ...counted } = metrics
    assert.deepEqual(counted, {
      state: 'registered',
      role: 'leader',
      hasSecret: true,
      persistenceFailing: false,
      registrationConsecutiveFailures: 0,
      signInConsecutiveFailures: 0,
      clockSkewMs: counted.clockSkewMs,
      nextAttemptAt: null,
      registrationAttempts: { success: 1, conflict: 0, rejected: 0, unavailable: 1, cancelled: 0 },
      registrationsLost: { unknownNode: 0, probesStopped: 0 },
      callbacks: { accepted: 1, unchanged: 1, notWaiting: 0, forbidden: 1, malformed: 0 },
      healthProbes: 1,
      signIns: { success: 1, rejected: 0, unknownNode: 0, unavailable: 0 },
      eventsDropped: 0,
    } satisfies Omit<Metrics, 'registeredAt' | 'lastProbeAt' | 'tokenExpiresAt' | 'dds'>)
    const { seconds, ...challenges } = requests.challenge
    assert.deepEqual(challenges, { success: 2, rejected: 0, unavailable: 1 })
    assert.ok(seconds > 0 && seconds < 60)
    for (const time of [registeredAt, lastProbeAt]) assert.ok(time && Math.abs(time.getTime() - started) < HANG_MS)
    assert.ok(tokenExpiresAt && tokenExpiresAt.getTime() > Date.now())

    const text = node.metricsText()
    const values = samples(text)
    assert.equal(values.get('posemesh_node_callbacks_total{outcome="forbidden"}'), 1)
    assert.equal(values.get('posemesh_node_state{state="registered"}'), 1)
    assert.equal(values.get('posemesh_node_last_probe_timestamp_seconds'), Number(lastProbeAt) / 1000)
    assert.ok(text.endsWith('\n') && !text.includes('# EOF') && !text.includes(node.walletAddress))

    await node.stop(wait)
    assert.deepEqual(node.metrics().callbacks, metrics.callbacks)
  })
})

describe('collectNodeMetrics', () => {
  it('gives prom-client the metrics of the node at each scrape, as metricsText() has them', async (t) => {
    const client: typeof import('prom-client') = require('prom-client')
    let node: PosemeshNode | undefined
    const register = new client.Registry()
    const other = new client.Registry()
    collectNodeMetrics(client, () => node, { register })
    const idle = samples(await register.metrics())
    assert.equal(idle.get('posemesh_node_state{state="disconnected"}'), 1)
    assert.equal(idle.get('posemesh_node_registration_attempts_total{outcome="success"}'), 0)

    node = await startNode(t, await localDds(t))
    await node.waitRegistered(wait)
    collectNodeMetrics(client, node, { register: other })
    for (const registry of [register, other, register]) {
      assert.deepEqual(samples(await registry.metrics()), samples(node.metricsText()))
    }
    const kinds = (text: string) => text.split('\n').filter((line) => line.startsWith('#'))
    assert.deepEqual(kinds(await register.metrics()), kinds(node.metricsText()))

    // The default registry, once.
    collectNodeMetrics(client, node)
    assert.deepEqual(samples(await client.register.metrics()), samples(node.metricsText()))
    assert.throws(() => collectNodeMetrics(client, () => node), /already been registered/)

    const gauges = (await register.getMetricsAsJSON()).filter(({ type }) => String(type) === 'gauge')
    assert.ok(gauges.length > 5 && gauges.every(({ aggregator }) => aggregator === 'max'))
  })

  it('checks its arguments', async (t) => {
    const client: typeof import('prom-client') = require('prom-client')
    const node = await startNode(t, await localDds(t))
    const wrongType = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
    assert.throws(() => collectNodeMetrics({} as typeof client, node), wrongType)
    assert.throws(() => collectNodeMetrics(client, {} as PosemeshNode), wrongType)
    assert.throws(() => collectNodeMetrics(client, node, { register: 1 as never }), wrongType)
    assert.throws(() => collectNodeMetrics(client, node, { registers: [] } as {}), { code: 'ERR_INVALID_ARG_VALUE' })
    assert.throws(() => observeNodeMetrics({} as never, node), wrongType)
  })
})

describe('observeNodeMetrics', () => {
  it('gives OpenTelemetry the metrics of the node at each collection', async (t) => {
    const sdk: typeof import('@opentelemetry/sdk-metrics') = require('@opentelemetry/sdk-metrics')
    class Reader extends sdk.MetricReader {
      protected override async onShutdown(): Promise<void> {}
      protected override async onForceFlush(): Promise<void> {}
    }
    const reader = new Reader()
    const provider = new sdk.MeterProvider({ readers: [reader] })
    t.after(() => provider.shutdown())
    const node = await startNode(t, await localDds(t))
    await node.waitRegistered(wait)
    observeNodeMetrics(provider.getMeter('a service'), node)

    for (let round = 0; round < 2; round++) {
      const { resourceMetrics, errors } = await reader.collect()
      assert.deepEqual(errors, [])
      const observed = new Map<string, number>()
      for (const { descriptor, dataPoints } of resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics)) {
        for (const { attributes, value } of dataPoints) {
          const labels = Object.entries(attributes).map(([name, value]) => `${name}="${value}"`)
          observed.set(labels.length > 0 ? `${descriptor.name}{${labels.join(',')}}` : descriptor.name, value as number)
        }
      }
      const expected = samples(node.metricsText())
      assert.deepEqual([...observed].sort(), [...expected].sort())
    }
  })
})
