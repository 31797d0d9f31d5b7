// The routes of a node in several processes, and while the disk is slow.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { type Answer, callBack, probe, send } from './send.js'
import { freePort } from './servers.js'
import { Shared, environment, split } from './shared.js'
import { FIXTURES, HANG_MS, assertEnded, localDds, runNode, until } from './support.js'

const wait = { timeoutMs: HANG_MS }
// Only Linux has the locks that a state directory requires.
const options = { skip: process.platform !== 'linux' && 'state is kept on Linux only' }

let root: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'posemesh-node-mounted-'))
})
after(() => rm(root, { recursive: true }))

describe('a cluster of four workers whose own web server has the routes', options, () => {
  it('gives the verdict of the leader in each of them, also when the leader dies', async (t) => {
    const dds = await localDds(t)
    const port = await freePort()
    const env = { ...environment(dds, await mkdtemp(join(root, 'state-'))), PORT: String(port) }
    const nodes = await Promise.all(Array.from({ length: 4 }, () => Shared.start(t, env)))
    await Promise.all(nodes.map((node) => node.call('waitRegistered', wait)))
    await dds.setNodeUrl(`http://127.0.0.1:${port}`)
    const secrets = await Promise.all(nodes.map((node) => node.call<string>('waitSecret', wait)))
    const [secret = ''] = secrets
    assert.deepEqual(secrets, Array(4).fill(secret))

    // Each request is a connection of its own, and the primary deals them out in turn.
    const verdict = async (index: number) => (await callBack(port, index % 2 ? secret : `wrong ${index}`)).status
    for (let sent = 0; sent < 200; sent += 20) {
      const verdicts = await Promise.all(Array.from({ length: 20 }, (_, index) => verdict(index)))
      assert.deepEqual(verdicts, Array.from({ length: 20 }, (_, index) => (index % 2 ? 200 : 403)))
    }
    for (const node of nodes) assert.equal(await node.call('readSecret'), secret)

    // A probe counts wherever it arrives.
    const { lastHealthcheck } = await (nodes[0] as Shared).status()
    for (let sent = 0; sent < 4; sent++) assert.equal((await send(port, 'GET', '/health', probe)).status, 200)
    if (lastHealthcheck === null) {
      for (const node of nodes) await until(async () => (await node.status()).lastHealthcheck !== null)
    }

    const { leaders, followers } = await split(nodes)
    const ports = await Promise.all(followers.map((node) => node.call<number>('ownPort')))
    const [leader] = leaders as [Shared]
    // The followers have sent their requests on to it, and it responds to none.
    leader.worker.process.kill('SIGSTOP')
    const pending = ports.flatMap((port) => [callBack(port, secret), callBack(port, 'wrong')])
    for (let round = 0; round < 3; round++) await Promise.all(followers.map((node) => node.status()))
    await leader.kill()
    for (const [index, answer] of (await Promise.all(pending)).entries()) assertVerdict(answer, index % 2 ? 403 : 200)
    for (const port of ports) {
      await until(async () => (await callBack(port, secret)).status === 200)
      assert.equal((await callBack(port, 'wrong')).status, 403)
    }
    assert.equal((await dds.requests('register')).length, 1)
    await Promise.all(followers.map((node) => node.stop()))
  })
})

/** Checks that a response has the right verdict or asks for another try. */
function assertVerdict({ status, headers, body }: Answer, verdict: number): void {
  if (status === 503) assert.ok(headers['retry-after'])
  else assert.equal(status, verdict, body)
}

describe('a slow disk', options, () => {
  it('delays the response, but not the event loop', async () => {
    const library = join(root, 'slow-disk.so')
    execFileSync('gcc', ['-shared', '-fPIC', '-o', library, join(FIXTURES, 'slow-disk.c')])
    const env = { ...process.env, STATE_DIR: join(root, 'slow'), LD_PRELOAD: library }
    const ended = await runNode([join(FIXTURES, 'slow-disk.mjs')], { env })
    assertEnded(ended, 0)
    const [stopped, ...lines] = ended.stdout.trim().split('\n').reverse()
    const runs = lines.map((line) => line.split(' ').map(Number) as [number, number, number])
    for (const [status, took] of runs) assert.ok(status === 200 && took >= 500, ended.stdout)
    // The best of them, because other processes need the processor too.
    assert.ok(Math.min(...runs.map(([, , held]) => held)) < 50, ended.stdout)
    assert.ok(['200', '503'].includes(stopped ?? ''), ended.stdout)

    // A worker thread can end meanwhile.
    const worker = await runNode([join(FIXTURES, 'slow-disk-worker.mjs')], { env: { ...env, STATE_DIR: join(root, 'worker') } })
    assertEnded(worker, 0, 'no response')
  })
})
