/** Requests of DDS that arrive at the web server of the program. Core decides which they are, and responds. */

import { native } from './binary.js'
import { BodyError, readRequestBody } from './body.js'
import { call, typeError } from './error.js'
import type { HttpResponse, Message, NativeNode } from './native.js'

/** @internal A request without its body. */
export interface RequestHead {
  readonly method: string
  /** Without a query, and without the prefix under which the program has the routes. */
  readonly path: string
  /** Names and values alternate, as in `rawHeaders` of Node.js. */
  readonly headers: string[]
}

/** @internal Whether a request is for the node. Otherwise it is the program's. */
export const isOurs = (path: string, userAgent: string | null | undefined) => native.isOurs(path, userAgent)

/** @internal Responds to a request while there is no node. `null`: the request is not for a node. */
export function respondWithoutNode({ method, path, headers }: RequestHead): HttpResponse | null {
  return call(() => native.respondWithoutNode(method, path, headers))
}

/** Whether the program has routes for a node that it names later. */
let anyNodeExpects = false

/** @internal Lets each node of this environment expect callbacks, because any of them may be the one that is named later. */
export function expectAnyNode(): void {
  anyNodeExpects = true
}

/** @internal The requests of DDS to one node. */
export class Routes {
  readonly #native: NativeNode
  readonly #pending = new Map<number, (response: HttpResponse | null) => void>()

  constructor(native: NativeNode) {
    this.#native = native
  }

  /** Lets waits for a secret begin, because DDS can call the node through the program's server. */
  expectCallbacks(): void {
    call(() => this.#native.expectCallbacks())
  }

  /** Does the same if the program has routes for a node that it names later. */
  expectCallbacksIfMounted(): void {
    if (anyNodeExpects) this.expectCallbacks()
  }

  /**
   * Responds to a request, which is usually decided at once. A follower asks its leader, and a new secret is written to the
   * disk first. `body` may fail, and is not called for a request whose body does not matter. `null`: the request is not for
   * a node.
   */
  async handle(head: RequestHead, body: () => Promise<Uint8Array>): Promise<HttpResponse | null> {
    const { method, path, headers } = head
    let received: Uint8Array = new Uint8Array()
    try {
      if (method === 'POST') received = await body()
    } catch (error) {
      if (error instanceof BodyError) return text(error.status, error.message)
      throw error
    }
    const { response, pending } = call(() => this.#native.handleRequest(method, path, headers, received))
    return pending === null ? response : new Promise((resolve) => this.#pending.set(pending, resolve))
  }

  /** Settles a request that was not decided at once. */
  end({ request, response }: Extract<Message, { type: 'handled' }>): void {
    this.#pending.get(request)?.(response)
    this.#pending.delete(request)
    call(() => this.#native.endRequest(request))
  }
}

/** @internal Responds to a `Request`, with the function for those that are for a node. */
export async function respondToFetch(
  request: Request,
  respond: (head: RequestHead, body: () => Promise<Uint8Array>) => Promise<HttpResponse | null> | HttpResponse | null,
): Promise<Response | undefined> {
  if (typeof request?.url !== 'string') throw typeError('request', 'a Request', request)
  const { method, headers } = request
  const { pathname: path } = new URL(request.url)
  if (!isOurs(path, headers.get('user-agent'))) return undefined
  const response = await respond({ method, path, headers: [...headers].flat() }, () => readRequestBody(request))
  return response ? new Response(response.body || null, response) : undefined
}

/** @internal A response of plain text. */
export function text(status: number, body: string): HttpResponse {
  return { status, headers: [['content-type', 'text/plain; charset=utf-8']], body }
}
