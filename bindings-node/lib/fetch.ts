/** A `fetch` that signs in with the access token of a node. */

import { types } from 'node:util'

import { typeError } from './error.js'
import type { PosemeshNode } from './node.js'
import { type Checks, checkFunction, checkTimeout, readOptions } from './options.js'
import { now } from './timers.js'
import type { AccessToken } from './token.js'

/** What {@link authorizedFetch} takes. */
export interface AuthorizedFetchOptions {
  /** What sends the requests; by default the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined
  /** Milliseconds that a request may wait for access tokens, in all; by default as long as it takes. */
  timeoutMs?: number | undefined
}

const checks: Checks<AuthorizedFetchOptions> = { fetch: checkFunction('fetch'), timeoutMs: checkTimeout }

/**
 * Makes a `fetch` that sends the node's access token as a bearer token, in place of any other authorization.
 *
 * A 401 invalidates that token, and the request is sent once more with a new one. That needs a body that can be sent
 * twice: not a stream, and not that of a `Request`. Without such a body the 401 is returned, and the next request has
 * the new token. The token goes wherever the caller sends a request to, but to no other origin by a redirect.
 *
 * Besides what `fetch` rejects with, there are the errors of {@link PosemeshNode.accessToken}.
 *
 * @example
 * const fetch = authorizedFetch(node, { timeoutMs: 30_000 })
 * const answer = await fetch('https://service.example/jobs', { method: 'POST', body: JSON.stringify(job) })
 */
export function authorizedFetch(
  node: Pick<PosemeshNode, 'accessToken' | 'invalidateToken'>,
  options: AuthorizedFetchOptions = {},
): typeof globalThis.fetch {
  if (typeof node?.accessToken !== 'function') throw typeError('node', 'a PosemeshNode', node)
  const { fetch, timeoutMs } = readOptions<AuthorizedFetchOptions>(options, checks)

  return async (input, init) => {
    const request = isRequest(input) ? input : undefined
    const signal = (init?.signal === undefined ? request?.signal : init.signal) ?? undefined
    let left = timeoutMs
    const token = async () => {
      const start = now()
      try {
        return await node.accessToken({ timeoutMs: left, signal })
      } catch (error) {
        // As fetch does it.
        signal?.throwIfAborted()
        throw error
      } finally {
        if (left !== undefined) left = Math.max(0, left - (now() - start))
      }
    }
    const send = (token: AccessToken) => {
      const headers = new Headers(init?.headers ?? request?.headers)
      headers.set('authorization', `Bearer ${token.value}`)
      return (fetch ?? globalThis.fetch)(input, { ...init, headers })
    }

    const first = await token()
    const answer = await send(first).catch((error: unknown) => {
      if (hides401(error)) node.invalidateToken(first)
      throw error
    })
    if (answer.status !== 401 || !hadToken(answer, request?.url ?? String(input))) return answer
    node.invalidateToken(first)
    if (!canBeSentTwice(init?.body ?? request?.body)) return answer
    // Else the connection stays in use until the answer is collected. One that has broken meanwhile is no matter.
    await answer.body?.cancel().catch(() => {})
    return send(await token())
  }
}

/** What the fetch of Node.js 24.14 rejects with when a stream is answered with 401; later ones return the answer. */
function hides401(error: unknown): boolean {
  return error instanceof TypeError && (error.cause as Error | undefined)?.message === 'expected non-null body source'
}

/** A redirect to another origin drops the token. What is answered there says nothing about it. */
function hadToken(answer: Response, url: string): boolean {
  return !answer.redirected || new URL(answer.url).origin === new URL(url).origin
}

function canBeSentTwice(body: unknown): boolean {
  return (
    body === undefined ||
    body === null ||
    typeof body === 'string' ||
    ArrayBuffer.isView(body) ||
    types.isAnyArrayBuffer(body) ||
    (isTagged(body, ['Blob', 'File', 'FormData', 'URLSearchParams']) && !isStream(body))
  )
}

/** By its tag rather than its class: undici from npm and every realm have classes of their own. */
function isTagged(body: unknown, tags: readonly string[]): boolean {
  return tags.includes(Object.prototype.toString.call(body).slice('[object '.length, -1))
}

/** The FormData of the package form-data has that tag, too, and is a stream, which is spent once it was sent. */
function isStream(body: unknown): boolean {
  return typeof (body as { pipe?: unknown }).pipe === 'function'
}

/** Also one of another realm or of a `fetch` from npm. */
function isRequest(input: unknown): input is Request {
  return typeof input === 'object' && input !== null && 'headers' in input && 'url' in input
}
