/** What the routes of a node need of the web servers of Node.js in which they are mounted. */

import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'

import { readNodeBody } from './body.js'
import type { HttpResponse } from './native.js'
import { PosemeshNode, routesOf } from './node.js'
import { type RequestHead, expectAnyNode, respondWithoutNode, text } from './routes.js'
import { type NodeSource, follow } from './source.js'

/** What the routes read of a request: an `http.IncomingMessage`, an `http2.Http2ServerRequest`, the `req` of Express. */
export interface HandlerRequest extends Readable {
  readonly method?: string | undefined
  readonly url?: string | undefined
  /** The `url` as it was before Express or NestJS removed the path at which a handler is mounted. */
  readonly originalUrl?: string | undefined
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: string[]
  /** The body as it was sent, if a body parser keeps it. */
  readonly rawBody?: unknown
  /** The result of a body parser. */
  readonly body?: unknown
}

/** @internal Where the routes of a node are mounted. */
export class Mount {
  readonly #node: () => PosemeshNode | undefined

  /** Checks the source of the node, and lets the node expect callbacks. */
  constructor(source: NodeSource) {
    this.#node = follow(source)
    if (source instanceof PosemeshNode) routesOf(source).expectCallbacks()
    else expectAnyNode()
  }

  /** Responds to a request, unless it is not for the node. */
  async respond(head: RequestHead, body: () => Promise<Uint8Array>): Promise<HttpResponse | null> {
    const node = this.#node()
    return node ? routesOf(node).handle(head, body) : respondWithoutNode(head)
  }

  /** Responds to a request of Node.js that is for the node. */
  async respondToNode(request: HandlerRequest, path: string): Promise<HttpResponse> {
    const { method = 'GET', rawHeaders: headers } = request
    return (await this.respond({ method, path, headers }, () => readNodeBody(request))) ?? NOT_FOUND
  }
}

/** @internal The response to a request that is not for the node, if nothing else responds to it. */
export const NOT_FOUND: HttpResponse = text(404, 'not found')
