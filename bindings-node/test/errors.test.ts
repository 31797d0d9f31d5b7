import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import type { LocalDds } from 'posemesh-node/testing'
import { FIXTURES, assertEnded, localDds, optionsFor, runNode, startNode, until } from './support.js'

describe('the error of a wait', () => {
  const failures: Record<string, [words: RegExp, fail: (dds: LocalDds) => Promise<{ ddsBaseUrl?: string }>]> = {
    'a refusal': [
      /this wallet is blocked/,
      async (dds) => {
        await dds.inject('register', { fault: 'status', code: 403, body: 'this wallet is blocked' }, null)
        return {}
      },
    ],
    'a DDS that is busy': [
      /503/,
      async (dds) => {
        await dds.inject('challenge', { fault: 'status', code: 503 }, null)
        return {}
      },
    ],
    'a DDS that cannot be reached': [/refused/, async () => ({ ddsBaseUrl: 'http://127.0.0.1:1' })],
    'a name that does not resolve': [
      /no-such-host\.invalid/,
      async () => ({ ddsBaseUrl: 'https://no-such-host.invalid' }),
    ],
  }
  for (const [name, [message, fail]] of Object.entries(failures)) {
    // scenario: dds-unreachable
    it(`includes that of the last attempt: ${name}`, async (t) => {
      const dds = await localDds(t)
      const node = await startNode(t, dds, { callbackBind: '127.0.0.1:0', ...(await fail(dds)) })
      await until(() => node.status().lastError !== null)
      const timeout = { timeoutMs: 5 }
      await assert.rejects(node.waitRegistered(timeout), { code: 'ERR_TIMEOUT', message })
      await assert.rejects(node.waitSecret(timeout), { code: 'ERR_TIMEOUT', message })
      await assert.rejects(node.accessToken(timeout), { code: 'ERR_TIMEOUT', message })
    })
  }
})

describe('a store that cannot be used', () => {
  it('is why the node is not registered', async (t) => {
    const node = await startNode(t, await localDds(t), { stateUrl: 'redis://127.0.0.1:1' })
    await until(() => node.status().persistenceError !== null)
    const message = /; stateUrl redis:\/\/127\.0\.0\.1:1: .*refused/
    const timeout = { timeoutMs: 5 }
    await assert.rejects(node.waitRegistered(timeout), { code: 'ERR_TIMEOUT', message })
    await assert.rejects(node.waitSecret(timeout), { code: 'ERR_TIMEOUT', message })
    await assert.rejects(node.accessToken(timeout), { code: 'ERR_TIMEOUT', message })
    assert.match(node.ready().reason, message)
  })
})

describe('file descriptors', { skip: process.platform !== 'linux' }, () => {
  // scenario: nothing-left
  it('are all closed after a stop', async (t) => {
    const { ddsBaseUrl, regSecret, secp256k1Privhex } = optionsFor(await localDds(t))
    const env = {
      ...process.env,
      DDS_BASE_URL: String(ddsBaseUrl),
      REG_SECRET: regSecret,
      SECP256K1_PRIVHEX: secp256k1Privhex,
      CAPABILITIES: '/test/v1',
      NODE_VERSION: '1.0.0',
    }
    assertEnded(await runNode([join(FIXTURES, 'descriptors.mjs')], { env }), 0)
  })
})
