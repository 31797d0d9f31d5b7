/** The bodies of requests, in whatever form the web server of the program has left them. */

import type { Readable } from 'node:stream'
import { types } from 'node:util'

import { clearTimeout, startTimer } from './timers.js'

/** As much of a body as core must see to refuse it as too large: one byte more than it accepts. The rest stays unread. */
const ENOUGH = 256 * 1024 + 1

/** A client has this long to send a body, as in the callback server of a node. */
const READ_TIMEOUT_MS = 10_000

/** A request of Node.js. Body parsers set `rawBody` or `body`. */
type NodeRequest = Readable & { readonly rawBody?: unknown; readonly body?: unknown }

/** @internal There is no body to be had. `status` is that of the response. */
export class BodyError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message)
  }
}

/** @internal The body of a request of Node.js: unread, or as a body parser has left it. */
export async function readNodeBody(request: NodeRequest): Promise<Uint8Array> {
  const { rawBody, body } = request
  if (isText(rawBody)) return bytes(rawBody)
  if (!request.readableDidRead) return readStream(request)
  if (isText(body)) return bytes(body)
  if (body === undefined) throw consumed('neither rawBody nor body has it: mount posemesh-node before what reads bodies')
  return bytes(serialize(body))
}

/** @internal The body of a `Request`. */
export async function readRequestBody(request: Request): Promise<Uint8Array> {
  const { body, bodyUsed } = request
  if (bodyUsed || body?.locked) throw consumed('call handleRequest() before anything reads the body')
  if (!body) return new Uint8Array()
  const reader = body.getReader()
  // Nothing depends on its result, and it may take as long as the client likes.
  const cancel = () => void reader.cancel().catch(() => {})
  let timedOut = false
  const timer = startTimer(READ_TIMEOUT_MS, () => {
    timedOut = true
    cancel()
  })
  try {
    const chunks = new Chunks()
    for (;;) {
      // The stream fails if the client disconnects, with an error of the web server.
      const { done, value } = await reader.read().catch(() => Promise.reject(disconnected()))
      if (timedOut) throw tooSlow()
      if (done) return chunks.all()
      if (chunks.add(value)) continue
      cancel()
      return chunks.all()
    }
  } finally {
    clearTimeout(timer)
  }
}

function readStream(stream: Readable): Promise<Uint8Array> {
  // Then no event will say so.
  if (stream.destroyed) return Promise.reject(disconnected())
  const chunks = new Chunks()
  return new Promise<Uint8Array>((resolve, reject) => {
    const finish = () => settle(() => resolve(chunks.all()))
    const fail = (error: Error) => settle(() => reject(error))
    const data = (chunk: Uint8Array | string) => {
      if (chunks.add(bytes(chunk))) return
      // Node.js discards the rest after the response.
      stream.pause()
      finish()
    }
    const close = () => fail(disconnected())
    const timer = startTimer(READ_TIMEOUT_MS, () => fail(tooSlow()))
    const settle = (settled: () => void) => {
      clearTimeout(timer)
      stream.off('data', data).off('end', finish).off('error', close).off('close', close)
      settled()
    }
    stream.on('data', data).on('end', finish).on('error', close).on('close', close)
  })
}

/** What has been read of a body. */
class Chunks {
  readonly #chunks: Uint8Array[] = []
  #length = 0

  /** Adds a chunk, and returns whether more is needed. */
  add(chunk: Uint8Array): boolean {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    return this.#length < ENOUGH
  }

  all(): Uint8Array {
    return Buffer.concat(this.#chunks, Math.min(this.#length, ENOUGH))
  }
}

/** Whether this is what was sent: text, or bytes of any realm. */
function isText(body: unknown): body is Uint8Array | string {
  return typeof body === 'string' || types.isUint8Array(body)
}

const bytes = (body: Uint8Array | string): Uint8Array => (typeof body === 'string' ? Buffer.from(body) : body)

function serialize(body: unknown): string {
  try {
    const text: unknown = JSON.stringify(body)
    if (typeof text === 'string') return text
  } catch {
    // The error could repeat what was sent.
  }
  throw consumed('what a parser made of it cannot be converted back to JSON')
}

const consumed = (why: string) => new BodyError(500, `the body of this request was read before posemesh-node saw it; ${why}`)
const disconnected = () => new BodyError(400, 'the client disconnected before the end of the body')
const tooSlow = () => new BodyError(408, `the body did not arrive within ${READ_TIMEOUT_MS / 1000} seconds`)
