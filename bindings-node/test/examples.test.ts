// Runs the examples and every program in the README.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import { type TestContext, describe, it } from 'node:test'

import { ethAddress, signEip191 } from 'posemesh-node'
import type { LocalDds } from 'posemesh-node/testing'
import { freePort, linkServers } from './servers.js'
import { HANG_MS, PACKAGE, REG_SECRET, assertEnded, localDds, newKey, runNode, until } from './support.js'

const environment = (dds: LocalDds) => ({
  ...process.env,
  DDS_BASE_URL: dds.url,
  REG_SECRET,
  SECP256K1_PRIVHEX: newKey(),
  CAPABILITIES: '/example/v1',
})

/** The programs of a language in a section of a README. */
function programs(readme: string, section: string, language: string): string[] {
  const text = readme.split(/^## /m).find((text) => text.startsWith(`${section}\n`))
  assert.ok(text, `a section ${section}`)
  return Array.from(text.matchAll(/^```(\w+)\n(.*?)^```/gms)).flatMap(([, of, program = '']) => (of === language ? [program] : []))
}

/** Starts an example. `until` reads its output up to a line that matches. */
function example(t: TestContext, name: string, env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, ['--import', 'tsx', resolve(PACKAGE, 'examples', name)], {
    cwd: PACKAGE,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: HANG_MS,
  })
  t.after(() => child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const until = async (pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const { value, done } = await lines.next()
      if (done) throw new Error(`${name} ended without a line like ${pattern}`)
      const match = pattern.exec(value)
      if (match) return match
    }
  }
  const terminate = async (signal: NodeJS.Signals = 'SIGTERM') => {
    const exit = once(child, 'exit')
    child.kill(signal)
    assert.deepEqual(await exit, signal === 'SIGKILL' ? [null, signal] : [0, null])
  }
  return { until, terminate }
}

describe('the examples', () => {
  it('register.mjs', async (t) => {
    const dds = await localDds(t)
    const { until, terminate } = example(t, 'register.mjs', environment(dds))
    await until(/^0x[0-9a-f]{40} is registered$/)
    await terminate()
  })

  it('register.mjs, stopped while DDS is down', async (t) => {
    const dds = await localDds(t)
    const env = environment(dds)
    await dds.stop()
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const { until, terminate } = example(t, 'register.mjs', env)
      await until(/^ERR_UNAVAILABLE, next attempt in \d+ ms$/)
      await terminate(signal)
    }
  })

  it('fastify.ts', async (t) => {
    const dds = await localDds(t)
    const { until, terminate } = example(t, 'fastify.ts', { ...environment(dds), PORT: '0' })
    const [, url] = await until(/Server listening at (http:[^"]+)/)
    // The node may be registered before the server listens, or after. The example's timeout bounds this.
    let ready = await fetch(`${url}/readyz`)
    while (ready.status !== 200) ready = await fetch(`${url}/readyz`)
    assert.deepEqual(await ready.json(), { ready: true, reason: 'registered' })
    await dds.setNodeUrl(`${url}`)
    assert.equal((await dds.callBack()).status, 200)
    const signed = await fetch(`${url}/sign`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: 'hello',
    })
    assert.match(((await signed.json()) as { signature: string }).signature, /^0x[0-9a-f]{130}$/)
    await terminate()
  })

  it('cluster.mjs, with four workers', async (t) => {
    const dds = await localDds(t)
    const parent = await mkdtemp(join(tmpdir(), 'posemesh-node-state-'))
    t.after(() => rm(parent, { recursive: true }))
    const env = { ...environment(dds), CALLBACK_BIND: '127.0.0.1:0', STATE_DIR: join(parent, 'state') }
    await dds.setSecret('a secret')
    const { until, terminate } = example(t, 'cluster.mjs', env)
    const roles: (string | undefined)[] = []
    const addresses = new Set<string | undefined>()
    for (let i = 0; i < 4; i++) {
      const [, role, address] = await until(/^worker \d, a (\w+), is registered; callbacks go to (127\.0\.0\.1:\d+)$/)
      roles.push(role)
      addresses.add(address)
    }
    assert.deepEqual(roles.sort(), ['follower', 'follower', 'follower', 'leader'])
    assert.equal(addresses.size, 1, 'all of them print the address of the leader')
    // Only now, because `until` skips the lines about the secret that come before those about the registration.
    for (const address of addresses) await dds.setNodeUrl(`http://${address}`)
    assert.equal((await dds.requests('register')).length, 1)
    for (let i = 0; i < 4; i++) await until(/^worker \d has the secret, 8 characters$/)
    await terminate()
    for (let i = 0; i < 4; i++) await until(/^worker \d ended with 0$/)
  })

  it('robot.mjs', async (t) => {
    const dds = await localDds(t)
    const { SECP256K1_PRIVHEX, REG_SECRET, CAPABILITIES, ...env } = environment(dds)
    const { until, terminate } = example(t, 'robot.mjs', { ...env, ROBOT_REGISTRATION_CREDENTIALS: REG_SECRET })
    const [, id] = await until(/^robot ([0-9a-f-]{36}) is registered$/)
    assert.deepEqual((await dds.nodes()).map(({ nodeId }) => nodeId), [id])
    await until(/^it has access to domain [0-9a-f-]{36} at http:/)
    await terminate()
  })

  it('peer.mjs, for the first token and the next one', async (t) => {
    const dds = await localDds(t, { tokenLifetimeMs: 1200 })
    const { until, terminate } = example(t, 'peer.mjs', { ...environment(dds), PEER_ID: '12D3KooWTest' })
    for (let i = 0; i < 2; i++) await until(/^peer 12D3KooWTest is bound to the node until 2/)
    await terminate()
  })
})

describe('README.md', () => {
  it('has programs that compile and run, and so has the README of the project', async (t) => {
    const ofPackage = await readFile(join(PACKAGE, 'README.md'), 'utf8')
    const ofProject = await readFile(join(PACKAGE, '..', 'README.md'), 'utf8')
    const programs = Array.from(`${ofPackage}\n${ofProject}`.matchAll(/^```ts\n(.*?)^```/gms), ([, text]) => text as string)
    assert.ok(programs.length >= 5)
    // Inside the package, so that the programs find it by name.
    const directory = await mkdtemp(join(PACKAGE, 'test', 'readme-'))
    t.after(() => rm(directory, { recursive: true }))
    const files = programs.map((_, index) => `program-${index}.mts`)
    await Promise.all(programs.map((text, index) => writeFile(join(directory, files[index] as string), text)))

    const compilerOptions = { noPropertyAccessFromIndexSignature: false, rootDir: PACKAGE, noEmit: true }
    await writeFile(
      join(directory, 'tsconfig.json'),
      JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: ['.'] }),
    )
    const tsc = join(PACKAGE, 'node_modules/typescript/bin/tsc')
    assertEnded(await runNode([tsc, '-p', directory]), 0)

    const dds = await localDds(t)
    // For the programs that send requests to a service, and for the one whose wallet is a service.
    const key = newKey()
    const service = createServer(async (request, response) => {
      const body = await buffer(request)
      response.end(request.url === '/sign' ? signEip191(key, body) : undefined)
    }).listen(0, '127.0.0.1')
    t.after(() => service.close())
    await once(service, 'listening')
    const { port } = service.address() as { port: number }
    for (const file of files) {
      const stateDir = join(directory, `${file}-state`)
      const env = {
        ...environment(dds),
        SERVICE_URL: `http://127.0.0.1:${port}`,
        WALLET_URL: `http://127.0.0.1:${port}/sign`,
        WALLET_ADDRESS: ethAddress(key),
        STATE_DIR: stateDir,
      }
      assertEnded(await runNode(['--import', 'tsx', join(directory, file)], { cwd: PACKAGE, env }), 0)
    }
  })

  it('has an Express server that runs', async (t) => {
    const readme = await readFile(join(PACKAGE, 'README.md'), 'utf8')
    const [program, ...more] = programs(readme, 'In a server', 'js')
    assert.ok(program)
    assert.equal(more.length, 0)
    // Inside the package, so that the program finds it by name.
    const directory = await mkdtemp(join(PACKAGE, 'test', 'readme-'))
    t.after(() => rm(directory, { recursive: true }))
    await writeFile(join(directory, 'server.cjs'), program)

    const dds = await localDds(t)
    const service = createServer((request, response) => response.end(request.headers.authorization)).listen(0, '127.0.0.1')
    t.after(() => service.close())
    await once(service, 'listening')
    const { port: servicePort } = service.address() as { port: number }
    const env = { ...environment(dds), PORT: '0', SERVICE_URL: `http://127.0.0.1:${servicePort}` }
    const { until, terminate } = example(t, join(directory, 'server.cjs'), env)
    const [, port] = await until(/^listening on port (\d+)$/)
    const work = await fetch(`http://127.0.0.1:${port}/work`)
    assert.deepEqual([work.status, /^Bearer ./.test(await work.text())], [200, true])
    // The node has a token, so it is registered.
    const ready = await fetch(`http://127.0.0.1:${port}/readyz`)
    assert.deepEqual([ready.status, await ready.json()], [200, { ready: true, reason: 'registered' }])
    await terminate()
  })

  it('has programs that pass the metrics of a node on', async (t) => {
    const readme = await readFile(join(PACKAGE, 'README.md'), 'utf8')
    const directory = await mkdtemp(join(linkServers(), 'readme-'))
    t.after(() => rm(directory, { recursive: true }))
    const dds = await localDds(t)
    const [promClient, openTelemetry, ...more] = programs(readme, 'Readiness and metrics', 'js')
    assert.deepEqual(more, [])
    for (const [index, program] of [promClient, openTelemetry].entries()) {
      const file = join(directory, `metrics-${index}.mjs`)
      await writeFile(file, `import { node } from '../given.mjs'\n${program}\nawait node.stop()\n`)
      const ended = await runNode([file], { env: environment(dds) })
      assertEnded(ended, 0)
      if (program === promClient) assert.match(ended.stdout, /^posemesh_node_leader 1$/m)
    }
  })

  it("has programs that add the routes of a node to a web server, which DDS then calls", async (t) => {
    const readme = await readFile(join(PACKAGE, 'README.md'), 'utf8')
    const directory = await mkdtemp(join(linkServers(), 'readme-'))
    t.after(() => rm(directory, { recursive: true }))
    const servers = programs(readme, 'In your own web server', 'js')
    assert.equal(servers.length, 6)
    for (const [index, program] of servers.entries()) {
      const file = join(directory, `server-${index}.mjs`)
      const given = ['node', 'host', 'port', 'AppModule'].filter((name) => new RegExp(`\\b${name}\\b`).test(program))
      const imports = given.map((name) => `import { ${name} } from '../${name === 'AppModule' ? 'nest' : 'given'}.mjs'\n`)
      await writeFile(file, imports.join('') + program)
      const dds = await localDds(t, { callback: 'never' })
      const port = await freePort()
      const { terminate } = example(t, file, { ...environment(dds), PORT: String(port) })
      await dds.waitForRequests('register', 1, HANG_MS)
      const listens = () => fetch(`http://127.0.0.1:${port}/internal/v1/registrations`).catch(() => null)
      await until(async () => (await listens())?.status === 405)
      await dds.setNodeUrl(`http://127.0.0.1:${port}`)
      const { status, body } = await dds.callBack()
      assert.deepEqual([status, body], [200, '{"ok":true}'], program)
      await terminate('SIGKILL')
    }
  })

  it('documents every option', async () => {
    const readme = await readFile(join(PACKAGE, 'README.md'), 'utf8')
    const { native } = await import('../lib/binary.js')
    for (const { name, variables } of native.options()) {
      const camelCase = name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
      const row = readme.split('\n').find((line) => line.startsWith(`| \`${camelCase}\` |`))
      assert.ok(row, `a row for ${camelCase}`)
      const [, , environment = '', preset = '', meaning = ''] = row.split('|').map((cell) => cell.trim())
      // The text below the table documents the names with the prefix POSEMESH_.
      for (const variable of variables.filter((variable) => !variable.startsWith('POSEMESH_'))) {
        assert.ok(environment.includes(`\`${variable}\``), `${variable} in ${row}`)
      }
      assert.ok(preset, `a default in ${row}`)
      assert.match(meaning, /^[A-Z].*\./, `a sentence in ${row}`)
    }
  })
})
