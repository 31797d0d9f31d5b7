/** A `fetch` that sends the access token of a node. */

import { types } from 'node:util'

import { typeError } from './error.js'
import type { PosemeshNode } from './node.js'
import { type Checks, checkFunction, checkTimeout, readOptions } from './arguments.js'
import { now } from './timers.js'
import type { AccessToken } from './token.js'

/** The options of {@link authorizedFetch}. */
export interface AuthorizedFetchOptions {
  /** The function that sends the requests. By default, the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined
  /** Milliseconds that a request may wait for access tokens in total. By default there is no limit. */
  timeoutMs?: number | undefined
}

const checks: Checks<AuthorizedFetchOptions> = { fetch: checkFunction('fetch'), timeoutMs: checkTimeout }

/**
 * Returns a `fetch` that sends the node's access token as a bearer token, in place of any other authorization.
 *
 * A response with status 401 invalidates the token, and the request is sent once more with a new one. This requires a body
 * that can be sent twice: not a stream, and not the body of a `Request`. Otherwise the response is returned, and the next
 * request has the new token. The token is sent to every URL that the caller requests, but a redirect does not send it to
 * another origin.
 *
 * A request rejects with the errors of `fetch` and those of {@link PosemeshNode.accessToken}.
 *
 * @example
 * const fetch = authorizedFetch(node, { timeoutMs: 30_000 })
 * const response = await fetch('https://service.example/jobs', { method: 'POST', body: JSON.stringify(job) })
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
        // As fetch does: it rejects with the reason itself.
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
    const response = await send(first).catch((error: unknown) => {
      if (hides401(error)) node.invalidateToken(first)
      throw error
    })
    if (response.status !== 401 || !hadToken(response, request?.url ?? String(input))) return response
    node.invalidateToken(first)
    if (!canBeSentTwice(init?.body ?? request?.body)) return response
    // Otherwise the connection stays in use until the response is collected. It does not matter if it has broken.
    await response.body?.cancel().catch(() => {})
    return send(await token())
  }
}

/** The fetch of Node.js 24.14 rejects with this error when the response to a stream is a 401. Later ones return the response. */
function hides401(error: unknown): boolean {
  return error instanceof TypeError && (error.cause as Error | undefined)?.message === 'expected non-null body source'
}

/** A redirect to another origin drops the token, so a response from there does not say whether the token is valid. */
function hadToken(response: Response, url: string): boolean {
  return !response.redirected || new URL(response.url).origin === new URL(url).origin
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

/** Compares the tag and not the class, because undici from npm and every realm have their own classes. */
function isTagged(body: unknown, tags: readonly string[]): boolean {
  return tags.includes(Object.prototype.toString.call(body).slice('[object '.length, -1))
}

/** The FormData of the package form-data has the same tag but is a stream, which can be sent only once. */
function isStream(body: unknown): boolean {
  return typeof (body as { pipe?: unknown }).pipe === 'function'
}

/** This also accepts a Request of another realm or of a `fetch` from npm. */
function isRequest(input: unknown): input is Request {
  return typeof input === 'object' && input !== null && 'headers' in input && 'url' in input
}
