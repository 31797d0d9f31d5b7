// Requests to a web server, as DDS and others send them.
import http from 'node:http'
import { buffer } from 'node:stream/consumers'

import { HANG_MS } from './support.js'

export interface Answer {
  readonly status: number | undefined
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

export const json = { 'content-type': 'application/json' }

export const probe = { 'user-agent': 'DDS v1.2.3' }

/** The body of a callback with a secret and so many bytes of domains. */
export const callback = (secret: string, length = 0) => JSON.stringify({ id: 'a node', secret, domains: ['d'.repeat(length)] })

/** Sends a request on a connection of its own. A body in several parts is sent in chunks. */
export async function send(
  port: number,
  method: string,
  path: string,
  headers: http.OutgoingHttpHeaders = {},
  ...body: readonly string[]
): Promise<Answer> {
  const request = http.request({ host: '127.0.0.1', port, method, path, headers, agent: false, timeout: HANG_MS })
  const response = new Promise<http.IncomingMessage>((resolve, reject) => {
    request.on('response', resolve).on('error', reject)
    request.on('timeout', () => request.destroy(new Error(`no response to ${method} ${path}`)))
  })
  // If it fails, the writes below do not end.
  const failed = response.then(() => {})
  for (const part of body.slice(0, -1)) await Promise.race([failed, new Promise((sent) => request.write(part, sent))])
  request.end(body.at(-1))
  const answer = await response
  return { status: answer.statusCode, headers: answer.headers, body: `${await buffer(answer)}` }
}

/** Sends a callback to the routes without a prefix. */
export const callBack = (port: number, secret: string) =>
  send(port, 'POST', '/internal/v1/registrations', json, callback(secret))
