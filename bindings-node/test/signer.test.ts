// Signers in place of a private key, against the local DDS.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { type TestContext, describe, it } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'

import { PosemeshNode, type PosemeshNodeOptions, type Signer, ethAddress, signEip191 } from 'posemesh-node'
import type { LocalDds } from 'posemesh-node/testing'
import { FIXTURES, HANG_MS, assertEnded, localDds, newKey, optionsFor, runNode, until } from './support.js'

const wait = { timeoutMs: HANG_MS }

async function startNode(t: TestContext, dds: LocalDds, signer: Signer): Promise<PosemeshNode> {
  const options = optionsFor(dds, { secp256k1Privhex: undefined, requestTimeoutSecs: 1, signer })
  const node = await PosemeshNode.start(options)
  t.after(() => node.stop())
  return node
}

/** A signer whose `signMessage` is replaced. */
function signerWith(replace: (signature: string, message: string) => unknown): Signer {
  const key = newKey()
  const sign = ({ message }: { message: string }) => replace(signEip191(key, Buffer.from(message)), message)
  return { address: ethAddress(key), signMessage: sign as Signer['signMessage'] }
}

describe('a signer', () => {
  // scenario: signer
  it('can be an account of viem', async (t) => {
    const dds = await localDds(t)
    const { privateKeyToAccount } = await import('viem/accounts')
    const account = privateKeyToAccount(`0x${newKey()}`)
    const node = await startNode(t, dds, account)
    await node.waitRegistered(wait)
    assert.equal(node.walletAddress, account.address.toLowerCase())
    assert.ok(await dds.acceptsToken(await node.accessToken(wait)))
    assert.deepEqual((await dds.nodes()).map(({ wallet }) => wallet), [account.address])
    assert.throws(() => node.sign(Buffer.from('hello')), { code: 'ERR_NOT_FOUND', message: /signer/ })
  })

  for (const [how, replace] of Object.entries<(signature: string) => unknown>({
    'at once': (signature) => signature,
    'with a promise': async (signature) => signature,
    'after a while': (signature) => new Promise((resolve) => setTimeout(resolve, 20, signature)),
  })) {
    it(`can return a signature ${how}`, async (t) => {
      const dds = await localDds(t)
      const signer = signerWith(replace)
      const node = await startNode(t, dds, signer)
      await node.waitRegistered(wait)
      assert.equal(node.walletAddress, signer.address)
      assert.ok(await dds.acceptsToken(await node.accessToken(wait)))
    })
  }

  it('is called as a method, with the message as text', async (t) => {
    const dds = await localDds(t)
    const key = newKey()
    const messages: string[] = []
    class Wallet {
      readonly address = ethAddress(key)
      signMessage({ message }: { message: string }): string {
        assert.ok(this instanceof Wallet)
        messages.push(message)
        return signEip191(key, Buffer.from(message))
      }
    }
    const node = await startNode(t, dds, new Wallet())
    await node.waitRegistered(wait)
    assert.equal(messages.length, 1)
    assert.ok(messages[0]?.includes(`sign in with your Ethereum account:\n${node.walletAddress}\n`), messages[0])
  })

  for (const [what, replace, message] of [
    ['throws', () => { throw new Error('the vault is sealed') }, /the vault is sealed/],
    ['rejects', async () => { throw new Error('the vault is sealed') }, /the vault is sealed/],
    ['throws a value that is not an error', () => { throw { toString: () => { throw new Error() } } }, /cannot be converted/],
    ['returns nothing', () => undefined, /must be a string, got undefined/],
    ['returns text that is not a signature', () => 'signed', /130 hex digits/],
    ['signs with another key', (_, text) => signEip191(newKey(), Buffer.from(text)), /it is by 0x/],
    ['signs another message', () => signEip191(newKey(), Buffer.from('another message')), /it is by 0x/],
    ['does not respond', () => new Promise(() => {}), /did not respond/],
  ] satisfies [string, (signature: string, message: string) => unknown, RegExp][]) {
    it(`that ${what} once is an error in the status, and is called again`, async (t) => {
      const dds = await localDds(t)
      let calls = 0
      const signer = signerWith((signature, text) => (++calls === 1 ? replace(signature, text) : signature))
      const node = await startNode(t, dds, signer)
      const [{ error }] = await once(node, 'attemptFailed')
      assert.match(error.message, message)
      assert.match(node.status().lastError?.message ?? error.message, message)
      node.rearm()
      await node.waitRegistered(wait)
      assert.equal((await dds.requests('register')).length, 1)
    })
  }

  it('does not keep the process alive, and its node can be stopped during a signature', async () => {
    for (const [how, stdout] of [['unref', 'unreferenced'], ['stop', 'stopped']] as const) {
      assertEnded(await runNode([join(FIXTURES, 'signer.mjs'), how]), 0, stdout)
    }
  })

  it('ends with its worker', async (t) => {
    const dds = await localDds(t)
    const worker = new Worker(join(FIXTURES, 'worker-signer.mjs'), { workerData: { url: dds.url } })
    assert.deepEqual(await once(worker, 'message'), ['signing'])
    await worker.terminate()
  })

  it('is the only key of a node, and has an address and a method', async (t) => {
    const dds = await localDds(t)
    const signer = signerWith((signature) => signature)
    await assert.rejects(PosemeshNode.start(optionsFor(dds, { signer })), {
      code: 'ERR_INVALID_CONFIG',
      message: /secp256k1Privhex and a signer are both set/,
    })
    const start = (wrong: unknown) =>
      PosemeshNode.start(optionsFor(dds, { secp256k1Privhex: undefined, signer: wrong as Signer }))
    const type = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
    await assert.rejects(start('0x1'), { ...type, message: /^signer must be an object with address and signMessage, got string/ })
    await assert.rejects(start({ ...signer, address: 1 }), { ...type, message: /^signer\.address must be a string/ })
    await assert.rejects(start({ address: signer.address }), { ...type, message: /^signer\.signMessage must be a function/ })
    await assert.rejects(start({ ...signer, address: '0x1' }), { code: 'ERR_INVALID_CONFIG', message: /address/ })
    assert.deepEqual(await dds.requests(), [])
  })

  it('is released after its node was stopped, or did not start', async (t) => {
    const dds = await localDds(t)
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    let collected = 0
    const registry = new FinalizationRegistry(() => collected++)
    const use = async (more: Partial<PosemeshNodeOptions>) => {
      const signer = signerWith((signature) => signature)
      registry.register(signer, undefined)
      await using node = await PosemeshNode.start(optionsFor(dds, { secp256k1Privhex: undefined, signer, ...more }))
      await node.waitRegistered(wait)
    }
    await use({})
    await assert.rejects(use({ nodeVersion: 'not a version' }), { code: 'ERR_INVALID_CONFIG' })
    await until(() => {
      collectGarbage()
      return collected === 2
    })
  })
})
