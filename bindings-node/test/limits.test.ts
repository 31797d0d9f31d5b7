// The limits of a start and a stop hold while libuv's pool is busy.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, describe, it } from 'node:test'

import { PosemeshNode } from 'posemesh-node'
import { HANG_MS, localDds, optionsFor, startNode } from './support.js'

const POOL_THREADS = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4)

/** Blocks every thread of libuv's pool in a system call, and returns the function that releases them. */
async function occupyPool(t: TestContext): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'posemesh-node-pool-'))
  t.after(() => rm(directory, { recursive: true }))
  const pipes = Array.from({ length: POOL_THREADS }, (_, index) => join(directory, `pipe-${index}`))
  execFileSync('mkfifo', pipes)
  // Opening a named pipe blocks until its other end is opened.
  const opening = pipes.map((pipe) => open(pipe, 'r'))
  return async () => {
    const ends = pipes.map((pipe) => openSync(pipe, 'w'))
    for (const file of await Promise.all(opening)) await file.close()
    ends.forEach((end) => closeSync(end))
  }
}

describe("libuv's pool, if it is busy,", () => {
  it('does not make a stop take longer than its limit', async (t) => {
    const dds = await localDds(t)
    const node = await startNode(t, dds)
    await node.waitRegistered({ timeoutMs: HANG_MS })
    const free = await occupyPool(t)
    try {
      await assert.rejects(node.stop({ timeoutMs: 50 }), {
        name: 'PosemeshError',
        code: 'ERR_TIMEOUT',
        message: /^not stopped in time: .*UV_THREADPOOL_SIZE/,
      })
      assert.equal(node.status().running, true)
    } finally {
      await free()
    }
    await node.stop({ timeoutMs: HANG_MS })
    assert.equal(node.status().running, false)
  })

  it('does not start a node after its signal was aborted', async (t) => {
    const dds = await localDds(t)
    const options = optionsFor(dds)
    const free = await occupyPool(t)
    try {
      const controller = new AbortController()
      const starting = PosemeshNode.start({ ...options, signal: controller.signal })
      controller.abort()
      await assert.rejects(starting, { name: 'AbortError', code: 'ABORT_ERR' })
    } finally {
      await free()
    }
    // With the same wallet, which would be in use if the node had started.
    const node = await startNode(t, dds, options)
    await node.waitRegistered({ timeoutMs: HANG_MS })
    assert.equal((await dds.requests('register')).length, 1)
  })
})
