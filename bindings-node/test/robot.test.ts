// Robots, against the local DDS.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, describe, it } from 'node:test'
import { inspect } from 'node:util'

import { type CoreOptions, PosemeshNode, type PosemeshNodeOptions } from 'posemesh-node'
import type { LocalDds } from 'posemesh-node/testing'
import { HANG_MS, localDds, newKey, until } from './support.js'

const wait = { timeoutMs: HANG_MS }
const FOREVER = 4294967295

const ID = '5c4e0a6b-9d1f-4c6e-8a57-2f0b7d3e91c4'
const CREDENTIALS = Buffer.from(`${ID}:quagga-and-okapi-must-not-show`).toString('base64')

const optionsFor = (dds: LocalDds, more: CoreOptions = {}): PosemeshNodeOptions => ({
  ...more,
  ddsBaseUrl: dds.url,
  identity: 'robot',
  regSecret: CREDENTIALS,
  nodeVersion: '1.0.0',
})

async function startRobot(t: TestContext, dds: LocalDds): Promise<PosemeshNode> {
  const robot = await PosemeshNode.start(optionsFor(dds))
  t.after(() => robot.stop())
  return robot
}

describe('a robot', () => {
  // scenario: robot
  it('registers without a key, and has its first token at once', async (t) => {
    const dds = await localDds(t)
    const robot = await startRobot(t, dds)
    await robot.waitRegistered(wait)
    assert.equal(robot.status().nodeId, ID)
    const token = await robot.accessToken(wait)
    assert.ok(await dds.acceptsToken(token))
    assert.equal(robot.tryAccessToken()?.value, token.value)
    const { node_id, node_type } = token.claims ?? {}
    assert.deepEqual([node_id, node_type], [ID, 'robot'])
    assert.deepEqual((await dds.requests()).map(({ endpoint }) => endpoint), ['registerRobot'])

    robot.invalidateToken(token)
    const second = await robot.accessToken(wait)
    assert.notEqual(second.value, token.value)
    assert.ok(await dds.acceptsToken(second))
    assert.equal((await dds.requests('verifyRobot')).length, 1)
  })

  it('has no wallet', async (t) => {
    const dds = await localDds(t)
    const robot = await startRobot(t, dds)
    const missing = { name: 'PosemeshError', code: 'ERR_NOT_FOUND', message: /robot/ }
    assert.throws(() => robot.walletAddress, missing)
    assert.throws(() => robot.sign(Buffer.from('hello')), missing)
    await robot.waitRegistered(wait)
    assert.equal(JSON.parse(JSON.stringify(robot)).walletAddress, null)
    assert.match(inspect(robot), new RegExp(`walletAddress: null[^]*nodeId: '${ID}'`))
    assert.doesNotMatch(inspect(robot, { showHidden: true, depth: null }), /quagga|okapi/)

    await assert.rejects(PosemeshNode.start(optionsFor(dds, { secp256k1Privhex: newKey() })), {
      code: 'ERR_INVALID_CONFIG',
      message: /secp256k1Privhex/,
    })
  })

  it('reads its credentials from the environment', async (t) => {
    const dds = await localDds(t)
    const directory = mkdtempSync(join(tmpdir(), 'robot-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const file = join(directory, 'credentials')
    writeFileSync(file, `${CREDENTIALS}\n`)
    const common = { IDENTITY: 'robot', DDS_BASE_URL: dds.url, NODE_VERSION: '1.0.0', REG_SECRET: 'of another node' }
    const names = [...Object.keys(common), 'ROBOT_REGISTRATION_CREDENTIALS', 'ROBOT_REGISTRATION_CREDENTIALS_FILE']
    const unset = () => names.forEach((name) => delete process.env[name])
    t.after(unset)
    for (const credentials of [
      { ROBOT_REGISTRATION_CREDENTIALS: CREDENTIALS },
      { ROBOT_REGISTRATION_CREDENTIALS_FILE: file },
    ]) {
      unset()
      Object.assign(process.env, common, credentials)
      await using robot = await PosemeshNode.fromEnv()
      await robot.waitRegistered(wait)
      assert.equal(robot.status().nodeId, ID)
    }
  })

  it('registers again after rearm()', async (t) => {
    const dds = await localDds(t)
    const robot = await startRobot(t, dds)
    await robot.waitRegistered(wait)
    robot.rearm()
    await robot.waitRegistered(wait)
    assert.equal((await dds.requests('registerRobot')).length, 2)
    assert.ok(await dds.acceptsToken(await robot.accessToken(wait)))
  })

  it('shows in its status that DDS rejects its credentials', async (t) => {
    const dds = await localDds(t)
    await dds.inject('registerRobot', { fault: 'status', code: 401, body: 'unknown robot' }, FOREVER)
    const robot = await startRobot(t, dds)
    const [{ error }] = await once(robot, 'attemptFailed')
    assert.equal(error.code, 'ERR_REJECTED')
    await until(() => robot.status().lastError !== null)
    assert.match(robot.status().lastError?.message ?? '', /unknown robot/)
  })
})
