/** The routes of a node as a plugin for Fastify. Its types are not imported, because most programs do not have it. */

import type { IncomingHttpHeaders } from 'node:http'

import { type HandlerRequest, Mount } from './mount.js'
import { isOurs } from './routes.js'
import type { NodeSource } from './source.js'

/** What {@link fastifyPlugin} needs of Fastify. */
export interface FastifyLike {
  readonly initialConfig: object
  /** Whether the server has a constraint of this name. */
  hasConstraintStrategy(name: string): boolean
  /** Adds a constraint that routes can have. */
  addConstraintStrategy(strategy: object): void
  /** Adds a route for every method. */
  all(path: string, options: object, handler: () => void): unknown
}

interface Reply {
  code(status: number): this
  header(name: string, value: string): this
  send(body: string): this
}

/**
 * Returns a plugin for Fastify 5 with the routes of a node, for any prefix. It behaves as the handler of `nodeHandler`, and
 * reads bodies before Fastify does, so `bodyLimit` has no effect on it.
 *
 * @example
 * await app.register(fastifyPlugin(node), { prefix: '/posemesh' })
 *
 * @throws {TypeError} `node` is neither a node nor a function.
 */
export function fastifyPlugin(node: NodeSource): (fastify: FastifyLike) => Promise<void> {
  const mount = new Mount(node)
  return async (fastify) => {
    const route = (path: string, constraints: object) => {
      // A hook, because it runs before a body is read and parsed.
      const onRequest = async ({ raw }: { raw: HandlerRequest }, reply: Reply) => {
        const { status, headers, body } = await mount.respondToNode(raw, path)
        for (const [name, value] of headers) reply.header(name, value)
        return reply.code(status).send(body)
      }
      fastify.all(path, { constraints, onRequest }, () => {})
    }
    if (!fastify.hasConstraintStrategy(PROBE)) fastify.addConstraintStrategy(probeStrategy)
    for (const slash of ignoresTrailingSlash(fastify) ? [''] : ['', '/']) {
      route(`/internal/v1/registrations${slash}`, {})
      route(`/health${slash}`, { [PROBE]: true })
    }
  }
}

/** The constraint of the routes for the health probes of DDS, so that the program can have the same path. */
const PROBE = 'posemeshProbe'

const probeStrategy = {
  name: PROBE,
  storage: () => {
    const routes = new Map<unknown, unknown>()
    const get = (isProbe: unknown) => routes.get(isProbe) ?? null
    return { get, set: (isProbe: unknown, route: unknown) => void routes.set(isProbe, route) }
  },
  deriveConstraint: ({ headers }: { headers: IncomingHttpHeaders }) => isOurs('/health', headers['user-agent']),
}

/** Whether Fastify itself accepts each path with and without a slash at its end. */
function ignoresTrailingSlash({ initialConfig }: FastifyLike): boolean {
  const { ignoreTrailingSlash, routerOptions } = initialConfig as RouterOptions & { routerOptions?: RouterOptions }
  return Boolean(ignoreTrailingSlash || routerOptions?.ignoreTrailingSlash)
}

interface RouterOptions {
  readonly ignoreTrailingSlash?: boolean
}
