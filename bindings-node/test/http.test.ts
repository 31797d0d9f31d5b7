// The handlers for the program's own web server: what they read, and what they do with it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import http2 from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, describe, it } from 'node:test'

import express, { type RequestHandler } from 'express'
import Fastify from 'fastify'
import { PosemeshNode } from 'posemesh-node'
import { type NodeSource, fastifyPlugin, fetchHandler, nodeHandler } from 'posemesh-node/http'
import { callBack, callback, json, probe, send } from './send.js'
import { HANG_MS, localDds, startNode } from './support.js'

const REGISTRATIONS = 'http://127.0.0.1/internal/v1/registrations'

/** A registered node that accepts every secret, and that DDS does not call. */
async function registered(t: TestContext): Promise<PosemeshNode> {
  const node = await startNode(t, await localDds(t, { callback: 'never' }), { callbackPolicy: 'open' })
  await node.waitRegistered({ timeoutMs: HANG_MS })
  return node
}

async function serve(t: TestContext, handle: (request: IncomingMessage, response: ServerResponse) => unknown): Promise<number> {
  const server = createServer((request, response) => void handle(request, response)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

const post = (body: NonNullable<RequestInit['body']> | null) =>
  new Request(REGISTRATIONS, { method: 'POST', headers: json, body, duplex: 'half' })

describe('nodeHandler', () => {
  it('responds with 404 to what is not for the node, if nothing else does', async (t) => {
    const port = await serve(t, nodeHandler(await registered(t)))
    for (const path of ['/', '/health', '/internal/v1/registrations/1', '//internal/v1/registrations', '/HEALTH']) {
      assert.equal((await send(port, 'GET', path)).status, 404, path)
    }
    assert.equal((await send(port, 'GET', '/health', { 'user-agent': 'a DDS v1' })).status, 404)
  })

  it('says why it cannot have the body that something else has read', async (t) => {
    const handle = nodeHandler(await registered(t))
    const port = await serve(t, async (request, response) => {
      await text(request)
      await handle(request, response)
    })
    const { status, body } = await callBack(port, 'a secret')
    assert.equal(status, 500)
    assert.match(body, /was read before .* mount posemesh-node before what reads bodies$/)
    // A request without a body has all that it needs.
    assert.equal((await send(port, 'GET', '/health', probe)).status, 200)
  })

  it('uses rawBody, the stream, a text, bytes or a parsed body, in this order', async (t) => {
    const node = await registered(t)
    const handle = nodeHandler(node)
    const wrong = callback('wrong')
    for (const [index, [consumes, parse, status]] of (
      [
        [true, (sent) => ({ rawBody: sent, body: wrong }), 200],
        [true, (sent) => ({ rawBody: `${sent}`, body: wrong }), 200],
        [false, (sent) => ({ rawBody: sent, body: wrong }), 200],
        [false, () => ({ body: wrong }), 200],
        [false, () => ({ rawBody: () => {}, body: wrong }), 200],
        [true, (sent) => ({ body: `${sent}` }), 200],
        [true, (sent) => ({ body: new Uint8Array(sent) }), 200],
        [true, (sent) => ({ body: JSON.parse(`${sent}`) }), 200],
        [true, () => ({ body: null }), 422],
        [true, () => ({ body: [] }), 422],
        [true, () => ({ body: 1n }), 500],
        [true, () => ({ body: () => {} }), 500],
        [true, () => ({ rawBody: 'x'.repeat(300 * 1024) }), 413],
        [true, () => ({ body: { id: 'a', secret: 'b', domains: 'x'.repeat(300 * 1024) } }), 413],
      ] satisfies [boolean, (sent: Buffer) => object, number][]
    ).entries()) {
      const secret = `secret ${index}`
      const port = await serve(t, async (request, response) => {
        if (consumes) await text(request)
        await handle(Object.assign(request, parse(Buffer.from(callback(secret)))), response)
      })
      const answer = await callBack(port, secret)
      assert.equal(answer.status, status, `${parse}: ${answer.body}`)
      if (status === 200) assert.equal(node.readSecret(), secret, `${parse}`)
    }
  })

  it('gives up on a client that disconnects or is slow', { timeout: HANG_MS }, async (t) => {
    const handle = nodeHandler(await registered(t))
    const handled: Promise<void>[] = []
    const port = await serve(t, (request, response) => handled.push(handle(request, response)))
    const head = `POST /internal/v1/registrations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`
    const leaving = connect(port, '127.0.0.1', () => leaving.write(head, () => leaving.resetAndDestroy()))
    const slow = connect(port, '127.0.0.1', () => slow.write(head))
    const response = once(slow, 'data')
    assert.match(`${await response}`, /^HTTP\/1.1 408 /)
    slow.destroy()
    await Promise.all(handled)
    assert.equal(handled.length, 2)
  })

  it('refuses an async function for the node', () => {
    assert.throws(() => nodeHandler((async () => undefined) as unknown as NodeSource), /^TypeError: node must return the node at once/)
  })

  it('passes errors of the function that returns the node to next, or responds with 500', async (t) => {
    const error = new Error('no node')
    const failing = nodeHandler(() => {
      throw error
    })
    const other = nodeHandler((() => 'a node') as unknown as NodeSource)
    assert.equal((await callBack(await serve(t, failing), 'a')).status, 500)
    const errors: unknown[] = []
    const port = await serve(t, async (request, response) => {
      for (const handle of [failing, other]) await handle(request, response, (error) => errors.push(error))
      response.end()
    })
    await callBack(port, 'a')
    assert.equal(errors[0], error)
    assert.match(String(errors[1]), /^TypeError: the result of node\(\) must be a PosemeshNode or undefined, got string$/)
    // It is called only for requests that are for the node.
    assert.equal((await send(await serve(t, failing), 'GET', '/')).status, 404)
  })

  it('rejects with what next rejects with, and responds once', async (t) => {
    const handle = nodeHandler(await registered(t))
    const error = new Error('of the program')
    const port = await serve(t, async (request, response) => {
      await assert.rejects(handle(request, response, () => Promise.reject(error)), error)
      response.writeHead(202).end()
      await handle(Object.assign(request, { url: '/health' }), response)
    })
    assert.equal((await send(port, 'GET', '/', probe)).status, 202)
  })

  it('works with HTTP/2', async (t) => {
    const node = await registered(t)
    const handle = nodeHandler(node)
    const server = http2.createServer((request, response) => void handle(request, response)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    t.after(() => {
      client.close()
      server.close()
    })
    const stream = client.request({ ':method': 'POST', ':path': '/internal/v1/registrations', ...json })
    stream.end(callback('over HTTP/2'))
    const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
    assert.deepEqual([headers[':status'], await text(stream)], [200, '{"ok":true}'])
    assert.equal(node.readSecret(), 'over HTTP/2')
  })

  it('has types that fit those of Express and Fastify', async (t) => {
    const node = await registered(t)
    const handle: RequestHandler = nodeHandler(node)
    const port = await serve(t, express().use(handle).use('/node', nodeHandler(() => node)))
    assert.equal((await send(port, 'GET', '/node/health', probe)).status, 200)
    const app = Fastify()
    await app.register(fastifyPlugin(node), { prefix: '/node' })
    const injected = await app.inject({ url: '/node/health', headers: probe })
    assert.equal(injected.statusCode, 200)
  })

  it('accepts a node behind a Proxy, and nothing else', async (t) => {
    const port = await serve(t, nodeHandler(new Proxy(await registered(t), {})))
    assert.equal((await callBack(port, 'a secret')).status, 200)
    for (const adapter of [nodeHandler, fetchHandler, fastifyPlugin]) {
      for (const wrong of [undefined, null, {}, 'node']) {
        assert.throws(() => adapter(wrong as unknown as NodeSource), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
      }
    }
  })
})

describe('handleRequest', () => {
  it('responds to requests for the node, and to no other', async (t) => {
    const node = await registered(t)
    const request = post(callback('a secret'))
    const response = await node.handleRequest(request)
    assert.deepEqual([response?.status, await response?.json()], [200, { ok: true }])
    assert.equal(node.readSecret(), 'a secret')
    const probed = await node.handleRequest(new Request('http://a/health/?a=b', { headers: probe }))
    assert.deepEqual([probed?.status, await probed?.text()], [200, ''])

    const other = new Request('http://a/jobs', { method: 'POST', body: 'a job' })
    assert.equal(await node.handleRequest(other), undefined)
    assert.equal(await other.text(), 'a job')
    assert.equal(await node.handleRequest(new Request('http://a/health')), undefined)

    await node.stop({ timeoutMs: HANG_MS })
    const stopped = await node.handleRequest(post(callback('a secret')))
    assert.deepEqual([stopped?.status, stopped?.headers.get('retry-after')], [503, '5'])
    assert.equal(await node.handleRequest(new Request('http://a/jobs')), undefined)
  })

  it('leaves out headers that the map cannot hold', async (t) => {
    const node = await registered(t)
    const request = post(callback('a secret'))
    for (let number = 0; number < 40_000; number++) request.headers.append(`x-${number}`, 'x')
    assert.equal((await node.handleRequest(request))?.status, 200)
  })

  it('reads no more of a body than it must', async (t) => {
    const node = await registered(t)
    let read = 0
    let cancelled = false
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(Buffer.alloc(16 * 1024, ++read ? ' ' : '')),
      cancel: () => void (cancelled = true),
    })
    assert.equal((await node.handleRequest(post(endless)))?.status, 413)
    assert.ok(read < 32 && cancelled, `${read} chunks`)
  })

  it('says why it cannot have a body that was read or that broke off', async (t) => {
    const node = await registered(t)
    const read = post(callback('a secret'))
    await read.text()
    const locked = post(callback('a secret'))
    locked.body?.getReader()
    for (const request of [read, locked]) {
      const response = await node.handleRequest(request)
      assert.equal(response?.status, 500)
      assert.match((await response?.text()) ?? '', /call handleRequest\(\) before anything reads the body$/)
    }
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error('ECONNRESET')) })
    const response = await node.handleRequest(post(broken))
    assert.equal(response?.status, 400)
    assert.equal(await response?.text(), 'the client disconnected before the end of the body')
    assert.equal((await node.handleRequest(post(null)))?.status, 400)
  })

  it('checks its argument', async (t) => {
    const node = await registered(t)
    for (const wrong of [undefined, null, {}, 'http://a/health']) {
      await assert.rejects(node.handleRequest(wrong as unknown as Request), { code: 'ERR_INVALID_ARG_TYPE' })
    }
  })
})

describe('fetchHandler', () => {
  it('responds with 503 as long as there is no node', async (t) => {
    let node: PosemeshNode | undefined
    const handle = fetchHandler(() => node)
    const early = await handle(post(callback('early')))
    assert.deepEqual([early?.status, early?.headers.get('retry-after')], [503, '5'])
    assert.equal((await handle(new Request(REGISTRATIONS)))?.status, 405)
    assert.equal(await handle(new Request('http://a/')), undefined)
    node = await registered(t)
    assert.equal((await handle(post(callback('a secret'))))?.status, 200)
  })
})

describe('a wait for the secret', () => {
  it('waits as soon as the node has a handler', async (t) => {
    const [node, other] = [await registered(t), await registered(t)]
    nodeHandler(node)
    fetchHandler(() => other)
    const secrets = [node, other].map((waiting) => waiting.waitSecret({ timeoutMs: HANG_MS }))
    for (const waiting of [node, other]) {
      assert.equal((await waiting.handleRequest(post(callback('a secret'))))?.status, 200)
    }
    assert.deepEqual(await Promise.all(secrets), ['a secret', 'a secret'])
  })
})
