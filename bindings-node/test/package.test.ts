// The package as users install it: packed, installed into an empty project, and loaded in every way.
import assert from 'node:assert/strict'
import { cp, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { after, before, describe, it } from 'node:test'

import { libcOf, target } from '../lib/binary.js'
import { BINARY, type Packed, contents, pack } from './packed.js'
import { PACKAGE, assertEnded, run, runNode } from './support.js'

const program = (imports: string) => `${imports}
async function main() {
  const dds = await LocalDds.start()
  const node = await PosemeshNode.start({
    ddsBaseUrl: dds.url, regSecret: 'credentials', secp256k1Privhex: '44'.repeat(32),
    capabilities: ['/test/v1'], nodeVersion: '1.0.0',
  })
  await node.waitRegistered()
  if (!((await node.accessToken()) instanceof AccessToken)) throw new Error('another class')
  if ((await authorizedFetch(node)(\`\${dds.url}/none\`)).status !== 404) throw new Error('not sent')
  for (const adapter of [nodeHandler, collectNodeMetrics, observeNodeMetrics]) {
    if (typeof adapter !== 'function') throw new Error('not exported')
  }
  console.log(node.status().state)
  await node.stop()
  if (!(await node.waitRegistered().catch((error) => error) instanceof PosemeshError)) throw new Error('another class')
}
main()
`
const ESM = `import { AccessToken, PosemeshError, PosemeshNode, authorizedFetch } from 'posemesh-node'
import { nodeHandler } from 'posemesh-node/http'
import { observeNodeMetrics } from 'posemesh-node/opentelemetry'
import { collectNodeMetrics } from 'posemesh-node/prom-client'
import { LocalDds } from 'posemesh-node/testing'`
const CJS = `const { AccessToken, PosemeshError, PosemeshNode, authorizedFetch } = require('posemesh-node')
const { nodeHandler } = require('posemesh-node/http')
const { observeNodeMetrics } = require('posemesh-node/opentelemetry')
const { collectNodeMetrics } = require('posemesh-node/prom-client')
const { LocalDds } = require('posemesh-node/testing')`

describe('the packed package', () => {
  let project: string
  let packed: Packed
  let binaries: string

  before(async () => {
    project = await mkdtemp(join(tmpdir(), 'posemesh-node-'))
    await writeFile(join(project, 'package.json'), '{ "private": true }')

    packed = await pack(join(project, 'packed'))
    const names = async (directory: string) => {
      const found = await readdir(join(PACKAGE, directory), { recursive: true, withFileTypes: true })
      return found.filter((entry) => entry.isFile()).map((entry) => relative(PACKAGE, join(entry.parentPath, entry.name)))
    }
    const texts = ['CHANGELOG.md', 'LICENSE', 'README.md', 'THIRD-PARTY-LICENSES.txt', 'package.json']
    assert.deepEqual(
      (await contents(packed.main)).filter((path) => !/^dist\/[a-z-]+\.(js|mjs|d\.ts|d\.mts)$/.test(path)),
      [...texts, ...(await names('docs')), ...(await names('examples'))].sort(),
    )
    assert.deepEqual(await contents(packed.platform), [
      'LICENSE',
      'THIRD-PARTY-LICENSES.txt',
      'package.json',
      'posemesh-node.cdx.json',
      `posemesh-node.${target()}.node`,
    ])
    binaries = join(project, 'node_modules', `posemesh-node-${target()}`)
    const install = ['install', '--no-save', packed.main, packed.platform]
    assertEnded(await run('npm', install, { cwd: project }), 0)
    for (const types of ['@types/node', 'undici-types']) {
      await cp(join(PACKAGE, 'node_modules', types), join(project, 'node_modules', types), { recursive: true })
    }
  })
  after(() => rm(project, { recursive: true }))

  const use = async (file: string, text: string) => {
    await writeFile(join(project, file), text)
    assertEnded(await runNode([file], { cwd: project }), 0, 'registered')
  }

  it('installs the addon for the platform', async () => {
    const installed = JSON.parse(await readFile(join(project, 'node_modules/posemesh-node/package.json'), 'utf8'))
    assert.deepEqual(installed.optionalDependencies, { [`posemesh-node-${target()}`]: installed.version })
  })

  it('works from an ES module', () => use('esm.mjs', program(ESM)))

  it('works from a CommonJS module', () => use('cjs.cjs', program(CJS)))

  it('is one instance for both', async () => {
    await writeFile(
      join(project, 'both.mjs'),
      `import { createRequire } from 'node:module'
       import * as esm from 'posemesh-node'
       const cjs = createRequire(import.meta.url)('posemesh-node')
       console.log(Object.keys(cjs).length > 5 && Object.keys(cjs).every((name) => esm[name] === cjs[name]))`,
    )
    assertEnded(await runNode(['both.mjs'], { cwd: project }), 0, 'true')
  })

  for (const [what, options, files] of [
    ['nodenext', { module: 'nodenext', moduleResolution: 'nodenext' }, { 'a.mts': program(ESM), 'b.cts': program(ESM) }],
    ['bundler', { module: 'esnext', moduleResolution: 'bundler' }, { 'c.ts': program(ESM) }],
    // The default of TypeScript before version 5.
    ['node', { module: 'commonjs', moduleResolution: 'node' }, { 'd.ts': program(ESM) }],
  ] as const) {
    it(`has types for ${what} that compile without skipLibCheck`, async () => {
      for (const [file, text] of Object.entries(files)) await writeFile(join(project, file), text)
      const compilerOptions = {
        ...options,
        target: 'es2022',
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        types: ['node'],
        noEmit: true,
      }
      await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: Object.keys(files) }))
      const tsc = join(PACKAGE, 'node_modules/typescript/bin/tsc')
      assertEnded(await runNode([tsc, '-p', project]), 0, '')
    })
  }

  /** Loads the package, which fails, and returns the error, whose text contains all these parts. */
  const failToLoad = async (parts: readonly string[], before = ''): Promise<string> => {
    const ended = await runNode(['-e', `${before}; require('posemesh-node')`], { cwd: project })
    assert.equal(ended.code, 1)
    for (const part of ['ERR_POSEMESH_BINARY', ...parts]) {
      assert.ok(ended.stderr.includes(part), `${part} is not in:\n${ended.stderr}`)
    }
    return ended.stderr
  }

  it('lists what it tried if there is no binary, and what to install', async () => {
    await rename(binaries, join(project, 'binaries'))
    const error = await failToLoad([
      `no working binary for ${target()}`,
      `platform ${process.platform}, arch ${process.arch}`,
      `posemesh-node.${target()}.node: `,
      `posemesh-node-${target()}: Cannot find module`,
      'without --omit=optional (npm install --include=optional)',
      `that also installs posemesh-node-${target()}.`,
    ])
    assert.doesNotMatch(error, /is installed|build:addon/)
  })

  it('names the binaries for other platforms that are installed instead', async () => {
    const [other = ''] = (await readdir(join(PACKAGE, 'npm'))).filter((name) => name !== target())
    const directory = join(project, 'node_modules', `posemesh-node-${other}`)
    await cp(join(PACKAGE, 'npm', other), directory, { recursive: true })
    await writeFile(join(directory, `posemesh-node.${other}.node`), '')
    await failToLoad([
      `posemesh-node-${other} is installed, but it is for another platform or C library. Install posemesh-node again`,
      `that also installs posemesh-node-${target()}.`,
    ])
    await rm(directory, { recursive: true })
  })

  it('says that the binary for this platform cannot be loaded', async () => {
    await cp(join(project, 'binaries'), binaries, { recursive: true })
    await writeFile(join(binaries, `posemesh-node.${target()}.node`), 'not a binary')
    const error = await failToLoad([`posemesh-node-${target()} is installed but cannot be loaded. Install it again.`])
    assert.doesNotMatch(error, /--omit/)
    await rm(binaries, { recursive: true })
  })

  it('says how to build a binary for a platform that has none', async () => {
    const { repository } = JSON.parse(await readFile(join(PACKAGE, 'package.json'), 'utf8'))
    const [, url] = /^git\+(.*)\.git$/.exec(repository.url) ?? []
    const error = await failToLoad(
      [
        `No binary is published for sunos-${process.arch}: build one in a clone of ${url} (npm run build:addon in `,
        'set POSEMESH_NODE_BINARY to its path',
      ],
      `Object.defineProperty(process, 'platform', { value: 'sunos' })`,
    )
    assert.doesNotMatch(error, /--omit/)
  })

  it('loads the binary that POSEMESH_NODE_BINARY names, or says why it cannot', async () => {
    const path = join(project, 'no.node')
    await writeFile(path, 'not a binary')
    const load = (binary: string) =>
      runNode(['-e', `console.log(typeof require('posemesh-node').PosemeshNode)`], {
        cwd: project,
        env: { ...process.env, POSEMESH_NODE_BINARY: binary },
      })
    const ended = await load(path)
    assert.equal(ended.code, 1)
    // The message of the dynamic loader.
    assert.match(ended.stderr, /^ {2}\/.*no\.node: (file too short|invalid ELF|not a mach-o)/m)
    assert.match(ended.stderr, /unset it/)
    assertEnded(await load(BINARY), 0, 'function')
  })
})

describe('the name of this platform', () => {
  it('contains the C library, whichever of its names is the link', () => {
    const maps = (library: string) => `
7f7418021000-7f741803b000 r-xp 00021000 08:01 1186  /usr/bin/node
7f741803b000-7f7418061000 r-xp 00014000 08:01 1186  ${library}
7ffd5b5f0000-7ffd5b611000 rw-p 00000000 00:00 0     [stack]
`
    for (const library of ['/lib/ld-musl-x86_64.so.1', '/usr/lib/x86_64-linux-musl/libc.so', '/usr/lib/libc.so']) {
      assert.equal(libcOf(maps(library)), 'musl', library)
    }
    for (const library of ['/usr/lib/x86_64-linux-gnu/libc.so.6', '/lib64/libc-2.28.so', '/lib64/ld-linux-x86-64.so.2']) {
      assert.equal(libcOf(maps(library)), 'gnu', library)
    }
  })

  it('is the same if /proc cannot be read', async () => {
    const [major = 0] = process.versions.node.split('.').map(Number)
    const permission = major < 24 ? '--experimental-permission' : '--permission'
    const program = `
      try { require('node:fs').readFileSync('/proc/self/maps'); process.exit(9) } catch {}
      console.log(require(${JSON.stringify(join(PACKAGE, 'dist/binary.js'))}).target())`
    assertEnded(await runNode([permission, `--allow-fs-read=${PACKAGE}/*`, '--allow-addons', '-e', program]), 0, target())
  })
})

describe('package.json', () => {
  const read = async (path: string) => JSON.parse(await readFile(join(PACKAGE, path), 'utf8'))

  it('has types for every entry point for tools that do not read `exports`', async () => {
    const { exports, typesVersions } = await read('package.json')
    const entries = Object.keys(exports).filter((name) => name !== '.' && name !== './package.json')
    const expected = entries.map((name) => [name.slice('./'.length), [exports[name].require.types]])
    assert.deepEqual(typesVersions, { '*': Object.fromEntries(expected) })
  })

  it('names a binary package of its own version for every target', async () => {
    const main = await read('package.json')
    const directories = (await readdir(join(PACKAGE, 'npm'))).sort()
    assert.equal(main.napi.targets.length, directories.length)
    const loader = await readFile(join(PACKAGE, 'dist/binary.js'), 'utf8')
    const required = Array.from(loader.matchAll(/require\('posemesh-node-([^']+)'\)/g), ([, name]) => name)
    // The loader must not run what others publish under a name that a release has no package for.
    assert.deepEqual(required.sort(), directories)
    for (const directory of directories) {
      const platform = await read(`npm/${directory}/package.json`)
      assert.equal(platform.name, `posemesh-node-${directory}`)
      assert.equal(platform.version, main.version)
      assert.equal(platform.main, `posemesh-node.${directory}.node`)
    }
    assert.equal(main.scripts.install ?? main.scripts.postinstall, undefined)
    const cargo = await readFile(join(PACKAGE, '../Cargo.toml'), 'utf8')
    assert.ok(cargo.includes(`version = "${main.version}"`), 'the version of the workspace')
  })
})
