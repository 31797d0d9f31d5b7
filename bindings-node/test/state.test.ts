// State that outlives the process, and that the workers of a cluster share.
import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, rm, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { after, before, describe, it } from 'node:test'

import { PosemeshError, PosemeshNode } from 'posemesh-node'
import { Shared, environment, split } from './shared.js'
import { HANG_MS, localDds, newKey, optionsFor, startNode, until } from './support.js'

const wait = { timeoutMs: HANG_MS }
const options = { skip: process.platform !== 'linux' && 'only tried on Linux' }

let root: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'posemesh-node-state-'))
})
// After every node has ended, because nodes write to it.
after(() => rm(root, { recursive: true }))

/** A directory that does not exist yet. */
async function newStateDir(): Promise<string> {
  return join(await mkdtemp(join(root, 'of-')), 'state_dir')
}

describe('a cluster of four workers with one state directory', options, () => {
  // scenario: workers
  it('registers once, and all four workers have the secret', async (t) => {
    const dds = await localDds(t)
    const env = { ...environment(dds, await newStateDir()), CALLBACK_BIND: '127.0.0.1:0' }
    const nodes = await Promise.all(Array.from({ length: 4 }, () => Shared.start(t, env)))
    await Promise.all(nodes.map((node) => node.call('waitRegistered', wait)))
    const { leaders, followers } = await split(nodes)
    assert.deepEqual([leaders.length, followers.length], [1, 3])
    assert.equal((await dds.requests('challenge')).length, 1)
    assert.equal((await dds.requests('register')).length, 1)

    const [follower] = followers as [Shared]
    await dds.setSecret('the secret of all four')
    await dds.setNodeUrl(`http://${await follower.call<string>('callbackAddress')}`)
    for (const node of nodes) {
      assert.equal(await node.call<string>('waitSecret', wait), 'the secret of all four')
      const { state, secretVersion, persistenceError } = await node.status()
      assert.deepEqual([state, secretVersion, persistenceError], ['registered', 1, null])
    }

    // Each process obtains its own access token. A token that is sent to another process loses its value.
    for (const node of nodes) {
      const token = await node.call<object>('accessToken', wait)
      assert.deepEqual(Object.keys(token), ['expiresAt'])
    }
    assert.equal((await dds.requests('verify')).length, 4)

    // The leader registers again when a follower calls rearm().
    await follower.call('rearm')
    await follower.call('waitRegistered', wait)
    assert.equal((await dds.requests('register')).length, 2)
    await Promise.all(nodes.map((node) => node.stop()))
    assert.equal((await dds.requests('register')).length, 2)
  })

  // scenario: leader-killed
  it('has a new leader after its leader is killed', async (t) => {
    const dds = await localDds(t, { callback: 'never' })
    const env = { ...environment(dds, await newStateDir()), CALLBACK_BIND: '127.0.0.1:0' }
    let nodes = await Promise.all(Array.from({ length: 4 }, () => Shared.start(t, env)))
    await Promise.all(nodes.map((node) => node.call('waitRegistered', wait)))
    for (let round = 1; round <= 3; round++) {
      const { leaders, followers } = await split(nodes)
      assert.equal(leaders.length, 1)
      await leaders[0]?.kill()
      nodes = followers
      await until(async () => (await split(nodes)).leaders.length === 1)
      const [successor] = (await split(nodes)).leaders as [Shared]
      // It is still registered, and serves the callbacks.
      assert.equal((await successor.status()).state, 'registered')
      assert.equal((await dds.requests('register')).length, round)
      const address = () => successor.call<string>('callbackAddress')
      await until(async () => (await fetch(`http://${await address()}/health`).catch(() => null))?.status === 200)
      await dds.setNodeUrl(`http://${await address()}`)

      const [asking] = nodes as [Shared]
      await asking.call('rearm')
      await asking.call('waitRegistered', wait)
      await dds.setSecret(`secret ${round}`)
      assert.equal((await dds.callBack()).status, 200)
      for (const node of nodes) {
        await until(async () => (await node.call<string | null>('readSecret')) === `secret ${round}`)
      }
    }
  })
})

describe('a state directory', options, () => {
  // scenario: restart
  it('returns the secret after a restart, and the node registers again', async (t) => {
    const dds = await localDds(t)
    const stateDir = pathToFileURL(await newStateDir())
    const same = { stateDir, secp256k1Privhex: newKey(), callbackBind: '127.0.0.1:0' }
    const first = await startNode(t, dds, same)
    await first.waitRegistered(wait)
    await dds.setNodeUrl(`http://${first.callbackAddress}`)
    await dds.callBack()
    const secret = await first.waitSecret(wait)
    await first.stop()

    const second = await startNode(t, dds, same)
    assert.equal(second.readSecret(), secret)
    assert.ok(second.status().registeredAt instanceof Date)
    await until(() => second.status().state === 'registered')
    assert.equal((await dds.requests('register')).length, 2)
  })

  // scenario: state-not-writable
  it('that cannot be written is an error in the status until it can be written again', async (t) => {
    const dds = await localDds(t)
    const stateDir = await newStateDir()
    // The path to which the next record is written.
    const obstacle = join(stateDir, 'state.new')
    await mkdir(stateDir, { mode: 0o700 })
    await mkdir(obstacle)
    const node = await startNode(t, dds, { stateDir })
    await node.waitRegistered(wait)
    await until(() => node.status().persistenceError !== null)
    const { persistenceError } = node.status()
    assert.ok(persistenceError instanceof PosemeshError)
    assert.equal(persistenceError.code, 'ERR_IO')
    assert.match(persistenceError.message, /^stateDir: .*\/state_dir\//)

    await rmdir(obstacle)
    node.rearm()
    await until(() => node.status().persistenceError === null)
  })

  // scenario: state-readable-by-others
  it('is rejected if other users can read it, and the error says what to do', async (t) => {
    const dds = await localDds(t)
    const stateDir = await newStateDir()
    await mkdir(stateDir)
    await chmod(stateDir, 0o755)
    await assert.rejects(PosemeshNode.start(optionsFor(dds, { stateDir })), {
      name: 'PosemeshError',
      code: 'ERR_INVALID_CONFIG',
      message: /^stateDir .*\/state_dir: .*chmod 700/,
    })
  })

  it('can be used by only one node of a process', async (t) => {
    const dds = await localDds(t)
    const stateDir = await newStateDir()
    await startNode(t, dds, { stateDir })
    await assert.rejects(startNode(t, dds, { stateDir }), { code: 'ERR_ALREADY_RUNNING', message: /directory of its own/ })
  })
})
