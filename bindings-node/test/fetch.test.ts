// The authorized fetch, against real services.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { type TestContext, describe, it } from 'node:test'

import { type AccessToken, authorizedFetch } from 'posemesh-node'
import * as undici from 'undici'
import { HANG_MS, localDds, startNode, until } from './support.js'

const wait = { timeoutMs: HANG_MS }
const FOREVER = 4294967295

interface Received {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

type Answer = (received: Received, response: ServerResponse) => void

/** A service on loopback, and the requests that it received. */
async function service(t: TestContext, answer: Answer): Promise<{ url: string; received: Received[] }> {
  const received: Received[] = []
  const server = createServer(async (request, response) => {
    const { method, url, headers } = request
    const one = { method, url, headers, body: await text(request) }
    received.push(one)
    answer(one, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, received }
}

const end = (status: number): Answer => (_, response) => response.writeHead(status).end()

/** Refuses the first token that it sees. */
function distrustful(): Answer {
  let refused: string | undefined
  return ({ headers }, response) => {
    refused ??= headers.authorization
    response.writeHead(headers.authorization === refused ? 401 : 200).end('an answer')
  }
}

describe('an authorized fetch', () => {
  it('sends the token as a bearer token, and keeps the other headers', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const { url, received } = await service(t, end(204))
    const fetch = authorizedFetch(node, wait)
    const headers = { authorization: 'Basic xyz', 'x-other': 'kept' }
    const answers = [
      await fetch(url),
      await fetch(new URL(url), { headers }),
      await fetch(new Request(url, { headers })),
      await fetch(new Request(url, { headers: { 'x-other': 'lost' } }), { method: 'POST', body: 'text', headers }),
    ]
    assert.deepEqual(answers.map(({ status }) => status), [204, 204, 204, 204])
    const { value } = await node.accessToken()
    assert.ok(received.every(({ headers }) => headers.authorization === `Bearer ${value}`))
    assert.deepEqual(received.map(({ headers }) => headers['x-other']), [undefined, 'kept', 'kept', 'kept'])
    assert.deepEqual([received[3]?.method, received[3]?.body], ['POST', 'text'])
  })

  it('repeats a request that was refused, with a new token', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const form = new FormData()
    form.set('name', 'value')
    const bodies: [body: NonNullable<RequestInit['body']>, received: RegExp][] = [
      ['text', /^text$/],
      [Buffer.from('bytes'), /^bytes$/],
      [new TextEncoder().encode('buffer').buffer as ArrayBuffer, /^buffer$/],
      [new Blob(['blob']), /^blob$/],
      [new URLSearchParams({ name: 'value' }), /^name=value$/],
      [form, /name="name"\r\n\r\nvalue\r\n/],
    ]
    const send = async ([body, pattern]: (typeof bodies)[0]) => {
      const { url, received } = await service(t, distrustful())
      const answer = await authorizedFetch(node, wait)(url, { method: 'POST', body })
      assert.equal(answer.status, 200)
      assert.equal(await answer.text(), 'an answer')
      assert.equal(received.length, 2)
      for (const one of received) assert.match(one.body, pattern)
      assert.equal(received[0]?.headers['content-type']?.split(';')[0], received[1]?.headers['content-type']?.split(';')[0])
      assert.equal(received[1]?.headers.authorization, `Bearer ${(await node.accessToken()).value}`)
    }
    await Promise.all(bodies.map(send))
    const { url, received } = await service(t, distrustful())
    assert.equal((await authorizedFetch(node, wait)(new Request(url))).status, 200)
    assert.equal(received.length, 2)
  })

  it('repeats a FormData of a fetch from npm, but not a stream with the same tag', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const { url, received } = await service(t, distrustful())
    const form = new undici.FormData()
    form.set('name', 'value')
    assert.ok(!((form as unknown) instanceof FormData), 'another class')
    const fetch = authorizedFetch(node, { ...wait, fetch: undici.fetch as unknown as typeof globalThis.fetch })
    const answer = await fetch(url, { method: 'POST', body: form as unknown as FormData })
    assert.equal(answer.status, 200)
    assert.equal(received.length, 2)
    for (const one of received) assert.match(one.body, /name="name"\r\n\r\nvalue\r\n/)

    // Like the FormData of the package form-data.
    const stream = Object.assign(Readable.from(['a form']), { [Symbol.toStringTag]: 'FormData' })
    let sent = 0
    const once = authorizedFetch(node, { ...wait, fetch: async () => new Response(null, { status: ++sent && 401 }) })
    assert.equal((await once(url, { method: 'POST', body: stream as never })).status, 401)
    assert.equal(sent, 1)
  })

  it('waits for all tokens of a request together no longer than its limit', async () => {
    // Only the arguments of the calls matter here. Each call takes 30 ms.
    const limits: (number | undefined)[] = []
    const token = { value: 'a-token' } as AccessToken
    const node: Parameters<typeof authorizedFetch>[0] = {
      accessToken: async (options) => {
        limits.push(options?.timeoutMs)
        await new Promise((resolve) => setTimeout(resolve, 30))
        return token
      },
      invalidateToken: () => {},
    }
    const refuse = async () => new Response(null, { status: 401 })
    await authorizedFetch(node, { timeoutMs: 10_000, fetch: refuse })('http://service.invalid')
    await authorizedFetch(node, { timeoutMs: 1, fetch: refuse })('http://service.invalid')
    await authorizedFetch(node, { fetch: refuse })('http://service.invalid')
    const [first, second, third, fourth, ...unlimited] = limits
    assert.equal(first, 10_000)
    assert.ok(Number(second) < 10_000 && Number(second) > 0, `${second}`)
    assert.deepEqual([third, fourth, unlimited], [1, 0, [undefined, undefined]])
  })

  it('signs in once for many requests that are refused with one token', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const { url, received } = await service(t, distrustful())
    const fetch = authorizedFetch(node, wait)
    const answers = await Promise.all(Array.from({ length: 100 }, () => fetch(url)))
    assert.ok(answers.every(({ status }) => status === 200))
    assert.equal((await dds.requests('verify')).length, 2)
    assert.ok(received.length > 100)
  })

  it('returns a second 401', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const { url, received } = await service(t, end(401))
    assert.equal((await authorizedFetch(node, wait)(url)).status, 401)
    assert.equal(received.length, 2)
    assert.notEqual(received[0]?.headers.authorization, received[1]?.headers.authorization)
  })

  it('sends a stream once, and the next request has a new token', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const parts = async function* () {
      yield Buffer.from('a ')
      yield Buffer.from('stream')
    }
    const requests: ((url: string) => [input: string | Request, init?: RequestInit])[] = [
      (url) => [url, { method: 'POST', body: new Blob(['a stream']).stream(), duplex: 'half' }],
      (url) => [url, { method: 'POST', body: parts() as never, duplex: 'half' }],
      (url) => [new Request(url, { method: 'POST', body: 'a stream' })],
    ]
    const send = async (request: (typeof requests)[0]) => {
      const { url, received } = await service(t, distrustful())
      const fetch = authorizedFetch(node, wait)
      const answer = await fetch(...request(url)).catch((error: TypeError) => {
        // Node.js 24.14 has a bug there.
        assert.equal((error.cause as Error).message, 'expected non-null body source')
        return new Response('an answer', { status: 401 })
      })
      assert.deepEqual([answer.status, await answer.text()], [401, 'an answer'])
      assert.equal(received.length, 1)
      assert.equal((await fetch(...request(url))).status, 200)
      assert.deepEqual(received.map(({ body }) => body), ['a stream', 'a stream'])
    }
    await Promise.all(requests.map(send))
  })

  it('sends the token along a redirect, but not to another origin', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const fetch = authorizedFetch(node, wait)
    const other = await service(t, end(401))
    const there = await service(t, (_, response) => response.writeHead(307, { location: `${other.url}/there` }).end())
    const answer = await fetch(there.url)
    assert.deepEqual([answer.status, answer.redirected], [401, true])
    assert.equal(there.received.length, 1)
    assert.deepEqual(other.received.map(({ url, headers }) => [url, headers.authorization]), [['/there', undefined]])
    // The token was not invalidated, because the other origin did not receive it.
    assert.equal((await dds.requests('verify')).length, 1)

    const distrust = distrustful()
    const here = await service(t, (request, response) =>
      request.url === '/here' ? distrust(request, response) : response.writeHead(307, { location: '/here' }).end(),
    )
    assert.equal((await fetch(here.url)).status, 200)
    assert.deepEqual(here.received.map(({ url }) => url), ['/', '/here', '/', '/here'])
    assert.equal((await dds.requests('verify')).length, 2)
  })

  it('observes the signal, during the wait for a token and after it', async (t) => {
    const dds = await localDds(t)
    await dds.inject('verify', { fault: 'hang' }, FOREVER)
    const node = await startNode(t, dds)
    const { url, received } = await service(t, ({ url }, response) => {
      if (url === '/') response.end()
    })
    const fetch = authorizedFetch(node)
    const abort = async (start: (signal: AbortSignal) => Promise<unknown>, begun: () => Promise<unknown>) => {
      const controller = new AbortController()
      const reason = new Error('the user left')
      const aborted = assert.rejects(start(controller.signal), (error) => error === reason)
      await begun()
      controller.abort(reason)
      await aborted
    }
    await abort((signal) => fetch(url, { signal }), () => dds.waitForRequests('challenge', 2))
    await abort((signal) => fetch(new Request(url, { signal })), async () => {})
    assert.equal(received.length, 0)
    await assert.rejects(fetch(url, { signal: AbortSignal.abort() }), { name: 'AbortError' })
    await assert.rejects(authorizedFetch(node, { timeoutMs: 1 })(url), { name: 'PosemeshError', code: 'ERR_TIMEOUT' })
    await node.stop()
    await assert.rejects(fetch(url), { code: 'ERR_STOPPED' })

    await dds.clearFaults()
    const other = await startNode(t, dds)
    const hangs = `${url}/hangs`
    await abort((signal) => authorizedFetch(other)(hangs, { signal }), () => until(() => received.length > 0))
  })

  it('succeeds after DDS has forgotten the node and its tokens', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const { url } = await service(t, async ({ headers }, response) => {
      const token = headers.authorization?.replace(/^Bearer /, '') ?? ''
      response.writeHead((await dds.acceptsToken(token)) ? 200 : 401).end()
    })
    const fetch = authorizedFetch(node, wait)
    for (let round = 1; round <= 3; round++) {
      const answers = Array.from({ length: 50 }, () => fetch(url, { method: 'POST', body: 'a job' }))
      assert.ok((await Promise.all(answers)).every(({ status }) => status === 200))
      assert.equal((await dds.requests('register')).length, round)
      await dds.forget()
    }
  })

  it('ignores a response body that fails after a 401', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const broken = () => {
      throw new Error('the connection was reset')
    }
    const answers = [new Response(new ReadableStream({ cancel: broken }), { status: 401 }), new Response('fine')]
    const answer = await authorizedFetch(node, { ...wait, fetch: async () => answers.shift() as Response })('http://a.invalid')
    assert.equal(await answer.text(), 'fine')
  })

  it('uses the fetch that was passed, or the current global one', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    const sent: string[] = []
    const record = (name: string): typeof fetch => async (input) => {
      sent.push(`${name} ${String(input)}`)
      return new Response()
    }
    await authorizedFetch(node, { ...wait, fetch: record('mine') })('http://service.invalid/a')
    const fetch = authorizedFetch(node, wait)
    t.mock.method(globalThis, 'fetch', record('global'))
    await fetch('http://service.invalid/b')
    t.mock.restoreAll()
    assert.deepEqual(sent, ['mine http://service.invalid/a', 'global http://service.invalid/b'])
  })

  it('rejects invalid arguments, and rejects with the error of the sign-in', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    await dds.inject('verify', { fault: 'status', code: 403, body: 'not on a Tuesday' }, FOREVER)
    await assert.rejects(authorizedFetch(node)('http://127.0.0.1:9'), { code: 'ERR_REJECTED', message: /Tuesday/ })
    assert.throws(() => authorizedFetch(undefined as never), /^TypeError: node must be a PosemeshNode/)
    assert.throws(() => authorizedFetch(node, { fetch: 1 as never }), /^TypeError: fetch must be a function/)
    assert.throws(() => authorizedFetch(node, { timeoutMs: -1 }), RangeError)
  })
})
