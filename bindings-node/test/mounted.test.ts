// The routes of a node while the disk is slow.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { FIXTURES, assertEnded, runNode } from './support.js'

// Only Linux has the locks that a state directory requires.
const options = { skip: process.platform !== 'linux' && 'state is kept on Linux only' }

let root: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'posemesh-node-mounted-'))
})
after(() => rm(root, { recursive: true }))

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
