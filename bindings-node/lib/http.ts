/**
 * The routes of a node in a web server of the program: `import { nodeHandler } from 'posemesh-node/http'`.
 *
 * @module posemesh-node/http
 */

import './engine.js'

import type { HttpResponse } from './native.js'
import { type HandlerRequest, Mount, NOT_FOUND } from './mount.js'
import { isOurs, respondToFetch, text } from './routes.js'
import type { NodeSource } from './source.js'

export { type FastifyLike, fastifyPlugin } from './fastify.js'
export type { HandlerRequest } from './mount.js'
export type { NodeSource } from './source.js'

/** What a handler needs of a response: an `http.ServerResponse`, an `http2.Http2ServerResponse`, the `res` of Express. */
export interface HandlerResponse {
  statusCode: number
  readonly headersSent: boolean
  /** Sets a header of the response. */
  setHeader(name: string, value: string): unknown
  /** Sends the response. */
  end(body: string): unknown
}

/** Responds to the requests of DDS, and passes all others to `next`. Without `next`, it responds to those with 404. */
export type NodeHandler = (
  request: HandlerRequest,
  response: HandlerResponse,
  next?: (error?: unknown) => unknown,
) => Promise<void>

/**
 * Returns a handler of the requests that DDS sends to a node: for `http.createServer`, and as middleware for Express.
 *
 * The handler compares `req.url`, from which Express removes a prefix, and `req.originalUrl`. `GET /health` is for the node only
 * if it comes from DDS, so the program can have a `/health` of its own. As long as there is no node, and after its stop, the
 * response is 503.
 *
 * A body may have 256 KiB. If a body parser runs before the handler, the limit of that parser applies too, and the handler
 * uses `rawBody` or `body`. If neither has the body, the response is 500.
 *
 * The promise of a handler does not reject, unless `next` does.
 *
 * @example
 * const app = express()
 * app.use(nodeHandler(() => node)) // before express.json()
 *
 * @throws {TypeError} `node` is neither a node nor a function.
 */
export function nodeHandler(node: NodeSource): NodeHandler {
  const mount = new Mount(node)
  return async (request, response, next) => {
    const path = ourPath(request)
    if (path === undefined) {
      await (next ? next() : send(response, NOT_FOUND))
      return
    }
    try {
      send(response, await mount.respondToNode(request, path))
    } catch (error) {
      // The program's function for the node threw, or this library has a bug.
      await (next ? next(error) : send(response, FAILED))
    }
  }
}

/**
 * Returns a handler of the requests that DDS sends to a node, for web servers with `Request` and `Response`, such as Hono. It
 * resolves to `undefined` if the request is the program's, whose body is then unread. Otherwise it behaves as the handler of
 * {@link nodeHandler}. The body must be unread, and the web server must have removed any prefix from the URL.
 *
 * @example
 * const handle = fetchHandler(() => node)
 * app.use(async (context, next) => (await handle(context.req.raw)) ?? next())
 *
 * @throws {TypeError} `node` is neither a node nor a function.
 */
export function fetchHandler(node: NodeSource): (request: Request) => Promise<Response | undefined> {
  const mount = new Mount(node)
  return (request) => respondToFetch(request, (head, body) => mount.respond(head, body))
}

/** Returns the path of a request for the node, without the prefix of the routes. */
function ourPath({ url, originalUrl, headers }: HandlerRequest): string | undefined {
  // NestJS removes the whole path from `url` if a middleware is for all routes.
  for (const candidate of new Set([url, originalUrl])) {
    const [path] = candidate?.split('?', 1) ?? []
    if (path && isOurs(path, headers['user-agent'])) return path
  }
  return undefined
}

const FAILED: HttpResponse = text(500, 'posemesh-node could not handle the request')

function send(response: HandlerResponse, { status, headers, body }: HttpResponse): void {
  // Other middleware may have responded meanwhile, for example after a timeout.
  if (response.headersSent) return
  response.statusCode = status
  for (const [name, value] of headers) response.setHeader(name, value)
  response.end(body)
}
