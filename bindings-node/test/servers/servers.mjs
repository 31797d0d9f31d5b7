// Web servers with the routes of a node. Each of them also has a health check of its own, and its own response to what it
// does not know. All return the port, and a function that closes them.
import 'reflect-metadata'

import { once } from 'node:events'
import http from 'node:http'

import { getRequestListener } from '@hono/node-server'
import { bodyParser } from '@koa/bodyparser'
import { Controller, Get, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import express5 from 'express'
import express4 from 'express-4'
import Fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { fastifyPlugin, fetchHandler, nodeHandler } from 'posemesh-node/http'

export const HEALTH = 'the program is fine'
export const UNKNOWN = 'the program has no such page'
export const PREFIX = '/of/the/node'

/** The largest body that a node accepts, for parsers with a lower limit. */
const limit = 256 * 1024

async function listen(listener) {
  const server = http.createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return { port: server.address().port, close }
}

function nodeHttp(source) {
  const handle = nodeHandler(source)
  return listen((request, response) =>
    handle(request, response, () => {
      const known = request.url === '/health'
      response.writeHead(known ? 200 : 404).end(known ? HEALTH : UNKNOWN)
    }),
  )
}

/** An Express application, to which `mount` adds the handler. */
function express(version, source, mount) {
  const app = version()
  mount(app, nodeHandler(source))
  app.get('/health', (request, response) => response.send(HEALTH))
  app.use((request, response) => response.status(404).send(UNKNOWN))
  app.use((error, request, response, next) => response.status(error.status ?? 500).send(error.type))
  return listen(app)
}

/** Where the handler is in an Express application of either version. */
const places = {
  'before a parser': ({ json }) => (app, handle) => app.use(handle).use(json()),
  'behind express.json()': ({ json }) => (app, handle) => app.use(json({ limit })).use(handle),
  'behind a parser that keeps rawBody': ({ json }) => {
    const verify = (request, response, body) => void (request.rawBody = body)
    return (app, handle) => app.use(json({ limit, verify })).use(handle)
  },
  'behind express.raw()': ({ raw }) => (app, handle) => app.use(raw({ limit, type: '*/*' })).use(handle),
  'behind express.text()': ({ text }) => (app, handle) => app.use(text({ limit, type: '*/*' })).use(handle),
  'in a router': ({ Router }) => (app, handle) => app.use(Router().use(Router().use(handle))),
  'under a prefix': () => (app, handle) => app.use(PREFIX, handle),
}

const inExpress = (name, version) =>
  Object.entries(places).map(([place, mount]) => [
    `${name}, ${place}`,
    (source) => express(version, source, mount(version)),
    place === 'under a prefix' ? PREFIX : '',
  ])

async function fastify(source, options, settings) {
  const app = Fastify(settings)
  app.register(fastifyPlugin(source), options)
  app.get('/health', () => HEALTH)
  app.setNotFoundHandler((request, reply) => reply.code(404).send(UNKNOWN))
  await app.listen({ host: '127.0.0.1', port: 0 })
  return { port: app.server.address().port, close: () => app.close() }
}

function koa(source) {
  const handle = nodeHandler(source)
  const app = new Koa()
  app.use((context, next) => handle(context.req, context.res, next))
  app.use(bodyParser())
  app.use((context) => {
    const known = context.path === '/health'
    Object.assign(context, known ? { body: HEALTH } : { status: 404, body: UNKNOWN })
  })
  return listen(app.callback())
}

function hono(source, mount) {
  const app = new Hono()
  mount(app, fetchHandler(source))
  app.get('/health', (context) => context.text(HEALTH))
  app.notFound((context) => context.text(UNKNOWN, 404))
  return listen(getRequestListener(app.fetch))
}

class Health {
  check() {
    return HEALTH
  }
}
Controller('health')(Health)
Get()(Health.prototype, 'check', Object.getOwnPropertyDescriptor(Health.prototype, 'check'))

/** A NestJS application, with the handler in front of it or, with `parsed`, behind its body parser. */
async function nest(source, { prefix = '/', parsed = false } = {}) {
  const handle = nodeHandler(source)
  class Application {
    configure(consumer) {
      if (parsed) consumer.apply(handle).forRoutes('{*path}')
    }
  }
  Module({ controllers: [Health] })(Application)
  const app = await NestFactory.create(Application, { logger: false, rawBody: parsed })
  app.useBodyParser('json', { limit })
  if (!parsed) app.use(prefix, handle)
  await app.listen(0, '127.0.0.1')
  return { port: app.getHttpServer().address().port, close: () => app.close() }
}

/** Names, functions that start a server with the routes of a node, and the prefix of the routes. */
export const servers = [
  ['node:http', nodeHttp, ''],
  ...inExpress('Express 4', express4),
  ...inExpress('Express 5', express5),
  ['Fastify', (source) => fastify(source), ''],
  ['Fastify, under a prefix', (source) => fastify(source, { prefix: PREFIX }), PREFIX],
  ['Fastify that ignores slashes', (source) => fastify(source, {}, { routerOptions: { ignoreTrailingSlash: true } }), ''],
  ['Koa', koa, ''],
  ['NestJS', (source) => nest(source), ''],
  ['NestJS, under a prefix', (source) => nest(source, { prefix: PREFIX }), PREFIX],
  ['NestJS, behind its parser', (source) => nest(source, { parsed: true }), ''],
  ['Hono', (source) => hono(source, (app, handle) => app.use(async ({ req }, next) => (await handle(req.raw)) ?? next())), ''],
  [
    'Hono, under a prefix',
    (source) =>
      hono(source, (app, handle) =>
        app.mount(PREFIX, async (request) => (await handle(request)) ?? new Response(UNKNOWN, { status: 404 })),
      ),
    PREFIX,
  ],
]
