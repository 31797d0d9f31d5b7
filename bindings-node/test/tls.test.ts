// The node trusts the certificate authorities that Node.js trusts.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createServer, get } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, describe, it } from 'node:test'

import { PosemeshNode } from 'posemesh-node'
import type { LocalDds } from 'posemesh-node/testing'
import { HANG_MS, localDds, optionsFor } from './support.js'

const VARIABLE = 'NODE_EXTRA_CA_CERTS'

/** A certificate authority, and a certificate that it issued for loopback. */
async function certificates(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'posemesh-node-tls-'))
  t.after(() => rm(directory, { recursive: true }))
  const file = (name: string) => join(directory, name)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })
  const authority = ['-CA', file('ca.pem'), '-CAkey', file('ca.key')]
  openssl('req', '-x509', ...key, '-subj', '/CN=a test', '-keyout', file('ca.key'), '-out', file('ca.pem'))
  openssl('req', ...key.slice(0, -2), '-subj', '/CN=loopback', '-keyout', file('key.pem'), '-out', file('request.pem'))
  await writeFile(file('extensions'), 'subjectAltName=IP:127.0.0.1\n')
  const extensions = ['-days', '2', '-extfile', file('extensions')]
  openssl('x509', '-req', '-in', file('request.pem'), ...authority, ...extensions, '-out', file('cert.pem'))
  return { caFile: file('ca.pem'), keyFile: file('key.pem'), certFile: file('cert.pem'), key: await readFile(file('key.pem')), cert: await readFile(file('cert.pem')) }
}

/** The DDS, over TLS. */
async function behindTls(t: TestContext, dds: LocalDds, keys: { key: Buffer; cert: Buffer }): Promise<string> {
  const server = createServer(keys, (incoming, response) => {
    const { method, headers } = incoming
    const forwarded = request(new URL(incoming.url as string, dds.url), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode as number, answer.headers)
      answer.pipe(response)
    })
    incoming.pipe(forwarded)
  }).listen(0, '127.0.0.1')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  await once(server, 'listening')
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function setVariable(t: TestContext, value: string): void {
  const before = process.env[VARIABLE]
  t.after(() => {
    if (before === undefined) delete process.env[VARIABLE]
    else process.env[VARIABLE] = before
  })
  process.env[VARIABLE] = value
}

describe(VARIABLE, () => {
  it('is trusted in addition to the system, unless there is a caFile', async (t) => {
    const dds = await localDds(t)
    const { caFile, ...keys } = await certificates(t)
    const ddsBaseUrl = await behindTls(t, dds, keys)
    // The challenge names the address of the DDS itself.
    const options = () => optionsFor(dds, { ddsBaseUrl, siweDomain: 'any' })

    const distrustful = await PosemeshNode.start(options())
    t.after(() => distrustful.stop())
    const [failed] = await once(distrustful, 'attemptFailed')
    assert.match(failed.error.message, /certificate/i)

    setVariable(t, caFile)
    await using trusting = await PosemeshNode.start(options())
    await trusting.waitRegistered({ timeoutMs: HANG_MS })

    setVariable(t, '/there/is/no/such/file')
    await using explicit = await PosemeshNode.start({ ...options(), caFile })
    await explicit.waitRegistered({ timeoutMs: HANG_MS })
    const unusable = { code: 'ERR_INVALID_CONFIG', message: /^NODE_EXTRA_CA_CERTS \/there\/is\/no\/such\/file: / }
    await assert.rejects(PosemeshNode.start(options()), unusable)
    // Without TLS, the file is not read.
    await using plain = await PosemeshNode.start(optionsFor(dds))
    await plain.waitRegistered({ timeoutMs: HANG_MS })
  })
})

describe('the callback server over TLS', () => {
  it('serves only clients that have a certificate of callbackTlsClientCa', async (t) => {
    const dds = await localDds(t)
    const { caFile, certFile, keyFile, key, cert } = await certificates(t)
    const files = { callbackTlsCert: certFile, callbackTlsKey: keyFile, callbackTlsClientCa: caFile }
    await using node = await PosemeshNode.start(optionsFor(dds, { callbackBind: '127.0.0.1:0', ...files }))
    const ca = await readFile(caFile)
    const health = async (client: object) => {
      const sent = get(`https://${node.callbackAddress}/health`, { ca, agent: false, ...client })
      const [response] = await once(sent, 'response')
      response.resume()
      return response.statusCode
    }
    assert.equal(await health({ key, cert }), 200)
    await assert.rejects(health({}), /certificate required|ECONNRESET|EPIPE/)
  })
})
