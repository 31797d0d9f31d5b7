// The environments in which people run Node.js programs, none of them simulated.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { Worker } from 'node:worker_threads'

import { build } from 'esbuild'

import { FIXTURES, PACKAGE, RUNS, assertEnded, localDds, repeat, runNode, startNode } from './support.js'

const bin = (name: string) => join(PACKAGE, 'node_modules', name)
const fixture = (name: string) => join(FIXTURES, name)

describe('worker_threads', () => {
  it('can be terminated during a registration', async (t) => {
    const dds = await localDds(t)
    await dds.inject('challenge', { fault: 'hang' }, 4294967295)
    await repeat(async () => {
      const worker = new Worker(fixture('worker.mjs'), { workerData: { url: dds.url } })
      const [address] = (await once(worker, 'message')) as [string]
      await worker.terminate()
      await assert.rejects(fetch(`http://${address}/health`), 'the port is free')
    }, RUNS * 5)
  })

  it('obtain access tokens, and can be terminated during a sign-in or end by themselves', async (t) => {
    const dds = await localDds(t)
    await repeat(async (run) => {
      const worker = new Worker(fixture('worker-token.mjs'), { workerData: { url: dds.url } })
      assert.ok((await once(worker, 'message'))[0] > 0)
      const exit = once(worker, 'exit')
      if (run % 2) worker.postMessage('stop')
      else void worker.terminate()
      assert.deepEqual(await exit, [run % 2 ? 0 : 1])
    })
  })

  it('can be terminated during a start', async (t) => {
    const dds = await localDds(t)
    await repeat(async () => {
      const worker = new Worker(fixture('worker-starting.mjs'), { workerData: { url: dds.url } })
      await once(worker, 'message')
      await worker.terminate()
    })
  })

  it('end by themselves after their node is stopped', async (t) => {
    const dds = await localDds(t)
    await repeat(async () => {
      const worker = new Worker(fixture('worker.mjs'), { workerData: { url: dds.url } })
      await once(worker, 'message')
      const exit = once(worker, 'exit')
      worker.postMessage('stop')
      assert.deepEqual(await exit, [0])
    })
  })
})

describe('logs of a process with workers', () => {
  it('reach each listener up to its own level', async (t) => {
    const dds = await localDds(t)
    const heard: string[] = []
    const here = await startNode(t, dds)
    here.on('log', ({ level, message }) => heard.push(`${level} ${message}`))
    const worker = new Worker(fixture('worker-log.mjs'), { workerData: { url: dds.url } })
    const there: { level: string; message: string }[] = []
    await new Promise<void>((resolve) => {
      worker.on('message', (message) => (message === 'registered' ? resolve() : there.push(message)))
    })
    const exit = once(worker, 'exit')
    worker.postMessage('stop')
    assert.deepEqual(await exit, [0])
    await here.stop()
    assert.ok(there.some(({ level }) => level === 'debug'))
    assert.ok(heard.some((line) => line.startsWith('info registered')), heard.join('\n'))
    assert.ok(!heard.some((line) => line.startsWith('debug')), heard.join('\n'))
  })
})

describe('child processes', () => {
  // scenario: fork
  it('of fork() have their own nodes', () =>
    repeat(async () => {
      assertEnded(
        await runNode([fixture('fork.mjs')]),
        0,
        'child registered\nchild ended with 0, parent registered',
      )
    }, 3))
})

describe('test runners', () => {
  it('node --test works', async () => {
    const env = { ...process.env }
    // Otherwise the inner runner reports to this one.
    delete env['NODE_TEST_CONTEXT']
    const files = ['node-test/node.test.mjs', 'node-test/fake-timers.test.mjs'].map(fixture)
    assertEnded(await runNode(['--test', ...files], { env }), 0)
  })

  it('Vitest works, with its default pool and with threads', async () => {
    for (const pool of [[], ['--pool=threads']]) {
      const args = [bin('vitest/vitest.mjs'), 'run', '--root', fixture('vitest'), ...pool]
      const ended = await runNode(args, { cwd: PACKAGE, env: { ...process.env, CI: '1' } })
      assertEnded(ended, 0)
      assert.match(ended.stdout, /4 passed/)
    }
  })

  it('Jest works', async () => {
    const args = [bin('jest/bin/jest.js'), '--rootDir', fixture('jest'), '--testMatch', '**/*.test.cjs']
    const ended = await runNode(args, { cwd: PACKAGE })
    assertEnded(ended, 0)
    assert.match(ended.stderr, /Tests: +4 passed/)
    assert.doesNotMatch(ended.stderr, /did not exit|open handle/)
  })
})

describe('tools', () => {
  it('tsx runs a TypeScript program', async () => {
    assertEnded(await runNode(['--import', 'tsx', fixture('typescript.ts')], { cwd: PACKAGE }), 0, 'registered')
  })

  it('esbuild bundles a server with the package as an external', async (t) => {
    // Inside the package, so that the bundle finds it by name.
    const out = await mkdtemp(join(PACKAGE, 'test', 'bundle-'))
    t.after(() => rm(out, { recursive: true }))
    const outfile = join(out, 'server.mjs')
    await build({
      entryPoints: [fixture('server.mjs')],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['posemesh-node'],
      logLevel: 'error',
    })
    assertEnded(await runNode([outfile]), 0, 'registered')
  })

  it('esbuild bundles a server with the package, and the addon stays outside', async (t) => {
    const out = await mkdtemp(join(PACKAGE, 'test', 'bundle-'))
    t.after(() => rm(out, { recursive: true }))
    const outfile = join(out, 'server.cjs')
    await build({
      entryPoints: [fixture('typescript.ts')],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      target: 'node20',
      logLevel: 'error',
    })
    const { target } = await import('../lib/binary.js')
    const env = { ...process.env, POSEMESH_NODE_BINARY: join(PACKAGE, `posemesh-node.${target()}.node`) }
    assertEnded(await runNode([outfile], { env }), 0, 'registered')
  })
})
