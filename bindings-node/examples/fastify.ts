// A Fastify service that is also a posemesh node. It is registered while it serves, DDS can call the node through it, and it
// stops its node when it closes.
import process from 'node:process'

import Fastify, { type FastifyInstance } from 'fastify'
import { PosemeshNode } from 'posemesh-node'
import { fastifyPlugin } from 'posemesh-node/http'

declare module 'fastify' {
  interface FastifyInstance {
    posemesh: PosemeshNode
  }
}

export async function buildServer(): Promise<FastifyInstance> {
  const app = Fastify({ logger: true })
  const node = await PosemeshNode.fromEnv({
    capabilities: ['/example/echo/v1'],
    nodeVersion: '1.0.0',
    logger: app.log,
  })
  app.decorate('posemesh', node)
  app.addHook('onClose', () => node.stop())
  // DDS calls a node whose URL it knows.
  app.register(fastifyPlugin(node))

  // For a load balancer: ready once DDS knows this node.
  app.get('/readyz', async (_request, reply) => {
    const { ready, reason } = node.ready()
    return reply.code(ready ? 200 : 503).send({ ready, reason })
  })
  app.post<{ Body: string }>('/sign', async ({ body }) => ({
    wallet: node.walletAddress,
    signature: node.sign(Buffer.from(body)),
  }))
  return app
}

async function main(): Promise<void> {
  const app = await buildServer()
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void app.close())
  await app.listen({ host: '127.0.0.1', port: Number(process.env['PORT'] ?? 8080) })
}

void main()
