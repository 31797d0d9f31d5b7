// The packed package in the tools that check and bundle it. Each bundler is configured as in docs/bundlers.md.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, after, before, describe, it } from 'node:test'

import { BINARY, type Packed, installOffline, pack } from './packed.js'
import { HANG_MS, PACKAGE, assertEnded, run, runNode } from './support.js'

const PROJECT = join(__dirname, 'packaging')
const NODE_MODULES = join(PROJECT, 'node_modules')

const environment = {
  ...process.env,
  PATH: [join(NODE_MODULES, '.bin'), process.env['PATH']].join(delimiter),
  NEXT_TELEMETRY_DISABLED: '1',
}

let scratch: string
let packed: Packed

before(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'posemesh-node-packaging-'))
  packed = await pack(scratch)
  await installOffline(packed, NODE_MODULES)
})
after(() => rm(scratch, { recursive: true }))

/** Follows a section of docs/bundlers.md: writes its configuration and runs its command. */
async function follow(t: TestContext, section: string): Promise<void> {
  const docs = await readFile(join(PACKAGE, 'docs/bundlers.md'), 'utf8')
  const text = docs.split(/^## /m).find((part) => part.startsWith(`${section}\n`))
  assert.ok(text, `a section ${section}`)
  for (const directory of ['out', '.next']) await rm(join(PROJECT, directory), { recursive: true, force: true })
  for (const [, content = '', name = ''] of text.matchAll(/^```js\n(\/\/ (\S+)\n.*?)^```/gms)) {
    await writeFile(join(PROJECT, name), content)
    t.after(() => rm(join(PROJECT, name)))
  }
  const [, command] = /^```sh\n(.*?)^```/ms.exec(text) ?? []
  assert.ok(command, `${section} has a command`)
  assertEnded(await run('sh', ['-ec', command], { cwd: PROJECT, env: environment }), 0)
}

/** Runs the only program in `out`, there or in a directory from which no package can be found. */
async function assertBundleRuns({ moved, env = {} }: { moved: boolean; env?: NodeJS.ProcessEnv }): Promise<void> {
  const out = join(PROJECT, 'out')
  const [program = '', ...more] = (await readdir(out)).filter((name) => /\.[cm]?js$/.test(name))
  assert.deepEqual(more, [])
  const directory = moved ? await mkdtemp(join(scratch, 'moved-')) : out
  if (moved) await cp(out, directory, { recursive: true })
  assertEnded(await runNode([join(directory, program)], { env: { ...process.env, ...env } }), 0, 'registered')
}

describe('bundlers', () => {
  for (const bundler of ['esbuild', 'webpack 5']) {
    it(`${bundler} bundles the package, with the addon next to the bundle`, async (t) => {
      await follow(t, bundler)
      await assertBundleRuns({ moved: true })
      await assertBundleRuns({ moved: true, env: { POSEMESH_NODE_BINARY: BINARY } })
    })
  }

  for (const bundler of ['Rollup', 'Vite SSR']) {
    it(`${bundler} bundles the package, with the addon outside of the bundle`, async (t) => {
      await follow(t, bundler)
      await assertBundleRuns({ moved: false })
      await assertBundleRuns({ moved: true, env: { POSEMESH_NODE_BINARY: BINARY } })
    })
  }

  it('Next.js copies the addon into a standalone server', async (t) => {
    await follow(t, 'Next.js')
    const standalone = join(scratch, 'standalone')
    await cp(join(PROJECT, '.next/standalone'), standalone, { recursive: true, verbatimSymlinks: true })
    // Next.js recreates the path from the directory of the topmost lock file.
    const files = await readdir(standalone, { recursive: true })
    const server = files.find((name) => /(^|\/)server\.js$/.test(name) && !name.includes('node_modules'))
    assert.ok(server, 'a server')

    const child = spawn(process.execPath, [join(standalone, server)], {
      env: { ...environment, HOSTNAME: '127.0.0.1', PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: HANG_MS,
    })
    t.after(async () => {
      const exit = once(child, 'exit')
      if (child.kill('SIGKILL')) await exit
    })
    for await (const line of createInterface({ input: child.stdout })) {
      const [, url] = /(http:\/\/127\.0\.0\.1:\d+)/.exec(line) ?? []
      if (!url) continue
      const answer = await fetch(`${url}/status`)
      assert.deepEqual([answer.status, await answer.text()], [200, 'registered'])
      return
    }
    assert.fail('the server ended')
  })
})

describe('checks of the packed package', () => {
  it('a file tracer finds the addon', async () => {
    const program = `
      import { nodeFileTrace } from '@vercel/nft'
      const { fileList } = await nodeFileTrace(['server.mjs'])
      console.log([...fileList].filter((name) => name.endsWith('.node')).length)`
    const args = ['--input-type=module', '--eval', program]
    assertEnded(await runNode(args, { cwd: PROJECT }), 0, '1')
  })

  it('attw resolves the types in every way', async () => {
    assertEnded(await run('attw', [packed.main], { env: environment }), 0)
  })

  it('publint reports nothing', async () => {
    assertEnded(await run('publint', ['--strict', packed.main], { env: environment }), 0)
  })
})
