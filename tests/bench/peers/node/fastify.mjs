/** The callback routes as one would write them with Fastify. */

import Fastify from 'fastify'

import { answer } from './commands.mjs'

const state = { secret: null, lastHealthcheck: null }
const text = { type: 'string', minLength: 1 }
const body = {
  type: 'object',
  required: ['id', 'secret'],
  properties: { id: text, secret: { ...text, maxLength: 4096 } },
}
const reply = { 200: { type: 'object', properties: { ok: { type: 'boolean' } } } }

const app = Fastify()
app.post('/internal/v1/registrations', { schema: { body, response: reply } }, async (request) => {
  state.secret = request.body.secret
  return { ok: true }
})
app.get('/health', async (request, response) => {
  if (request.headers['user-agent']?.startsWith('DDS v')) state.lastHealthcheck = Date.now()
  return response.send()
})

await app.listen({ port: 0, host: '127.0.0.1' })
const { address, port } = app.server.address()
await answer({ serve: () => `${address}:${port}` })
await app.close()
