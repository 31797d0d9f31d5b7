// The routes of a node in the web servers in which people run them, on real sockets, with a local DDS that calls the node.
import assert from 'node:assert/strict'
import type { OutgoingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'

import type { PosemeshNode } from 'posemesh-node'
import type { NodeSource } from 'posemesh-node/http'
import { callback, json, probe as ofDds, send } from './send.js'
import { linkServers } from './servers.js'
import { HANG_MS, localDds, startNode } from './support.js'

interface Server {
  readonly port: number
  close(): unknown
}

interface Servers {
  readonly HEALTH: string
  readonly UNKNOWN: string
  readonly servers: readonly [name: string, start: (source: NodeSource) => Promise<Server>, prefix: string][]
}

describe('the routes of a node', async () => {
  const { servers, HEALTH, UNKNOWN }: Servers = await import(pathToFileURL(join(linkServers(), 'servers.mjs')).href)
  for (const [name, start, prefix] of servers) {
    // scenario: mounted-routes
    it(`in ${name}`, async (t) => {
      let node: PosemeshNode | undefined
      const server = await start(() => node)
      t.after(() => server.close())
      const { port } = server
      const registrations = `${prefix}/internal/v1/registrations`
      const post = (headers: OutgoingHttpHeaders, ...body: string[]) => send(port, 'POST', registrations, headers, ...body)
      const probe = (method = 'GET') => send(port, method, `${prefix}/health`, ofDds)

      for (const answer of [await post(json, callback('early')), await probe()]) {
        assert.deepEqual([answer.status, answer.headers['retry-after']], [503, '5'], answer.body)
      }

      // A callback that comes before the program has the node gets 503.
      const dds = await localDds(t, { callback: 'never' })
      node = await startNode(t, dds, { nodeUrl: `http://127.0.0.1:${port}${prefix}` })
      await node.waitRegistered({ timeoutMs: HANG_MS })
      assert.equal((await dds.callBack()).status, 200)
      const secret = await node.waitSecret({ timeoutMs: HANG_MS })
      assert.equal(secret, await dds.lastSecret())
      assert.equal(await dds.probeHealth(), 200)
      assert.ok(node.status().lastHealthcheck)

      const body = callback(secret)
      const half = Math.floor(body.length / 2)
      for (const [what, answer, status, text] of [
        ['the same again', await post(json, body), 200, '{"ok":true}'],
        ['in chunks', await post(json, body.slice(0, half), body.slice(half)), 200, '{"ok":true}'],
        ['with 150 KiB', await post(json, callback(secret, 150 * 1024)), 200, '{"ok":true}'],
        ['with 300 KiB', await post(json, callback(secret, 300 * 1024)), 413],
        ['with 300 KiB in chunks', await post(json, ...Array(30).fill(callback(secret, 10 * 1024))), 413],
        ['of text', await post({ 'content-type': 'text/plain' }, body), 415],
        ['that is not JSON', await post(json, '{"id":'), 400],
        ['without a secret', await post(json, '{"id":"a"}'), 422],
        ['without a body', await post(json), 400],
        ['with another secret', await post(json, callback('another')), 403],
        ['with a slash', await send(port, 'POST', `${registrations}/?from=dds`, json, body), 200, '{"ok":true}'],
        ['of a health probe', await probe(), 200, ''],
        ['of a health probe without a body', await probe('HEAD'), 200, ''],
        ["of the program's health check", await send(port, 'GET', '/health'), 200, HEALTH],
        ['of an unknown path', await send(port, 'POST', '/internal/v1/registration', json, body), 404],
      ] as const) {
        assert.equal(answer.status, status, `${what}: ${answer.body}`)
        if (text !== undefined) assert.equal(answer.body, text, what)
      }
      const unknown = await send(port, 'GET', '/unknown')
      assert.ok(unknown.status === 404 && (unknown.body === UNKNOWN || unknown.body.includes('Cannot GET')), unknown.body)
      for (const [answer, allow] of [
        [await send(port, 'GET', registrations), 'POST'],
        [await send(port, 'PUT', registrations, json, body), 'POST'],
        [await probe('DELETE'), 'GET,HEAD'],
      ] as const) {
        assert.deepEqual([answer.status, answer.headers.allow, answer.body], [405, allow, ''])
      }

      await node.stop({ timeoutMs: HANG_MS })
      for (const answer of [await post(json, body), await probe()]) {
        assert.deepEqual([answer.status, answer.headers['retry-after']], [503, '5'], answer.body)
      }
      assert.equal(node.readSecret(), secret)
    })
  }
})
