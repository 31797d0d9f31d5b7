import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { MINIMUM, checkEngine } from '../lib/engine.js'
import { PACKAGE, runNode } from './support.js'

const metadata = (directory: string) => JSON.parse(readFileSync(join(PACKAGE, directory, 'package.json'), 'utf8'))

describe('the version of Node.js', () => {
  for (const version of ['0.12.18', '9.11.2', '18.20.8', '20.0.0', '20.8.1']) {
    it(`${version} is refused`, () => {
      assert.throws(() => checkEngine(version), {
        code: 'ERR_POSEMESH_ENGINE',
        message: `posemesh-node needs Node.js 20.9 or newer; this is ${version}`,
      })
    })
  }

  for (const version of ['20.9.0', '20.10.0', '20.20.2', '21.0.0-nightly20230801d396a041f7', '22.0.0', '100.0.0']) {
    it(`${version} is accepted`, () => checkEngine(version))
  }

  it('has the same minimum in every package', () => {
    const platforms = readdirSync(join(PACKAGE, 'npm')).map((name) => join('npm', name))
    assert.ok(platforms.length > 0)
    for (const directory of ['.', ...platforms]) {
      assert.deepEqual(metadata(directory).engines, { node: `>=${MINIMUM}` }, directory)
    }
  })

  const entries = Object.keys(metadata('.').exports).filter((entry) => entry !== './package.json')
  for (const entry of entries.map((entry) => join('posemesh-node', entry))) {
    for (const load of ['require', 'import']) {
      it(`is checked before ${load} loads anything else of ${entry}`, async () => {
        const program = `
          import { createRequire } from 'node:module'
          const require = createRequire(${JSON.stringify(join(PACKAGE, 'program.cjs'))})
          const versions = { ...process.versions, node: '18.20.8' }
          Object.defineProperty(process, 'versions', { value: versions })
          const load = { require: async () => require('${entry}'), import: () => import('${entry}') }.${load}
          const error = await load().catch((error) => error)
          // A module that throws is not in the cache.
          const loaded = Object.keys(require.cache).map((path) => path.split(/[\\\\/]/).pop())
          console.log(JSON.stringify([error.message, loaded]))`
        const ended = await runNode(['--input-type=module', '--eval', program], { cwd: PACKAGE })
        // Not the exit code: Node.js 20 also reports the error of a CommonJS module as unhandled when `import` is caught.
        const expected = ['posemesh-node needs Node.js 20.9 or newer; this is 18.20.8', []]
        assert.equal(ended.stdout.trim(), JSON.stringify(expected), ended.stderr)
      })
    }
  }
})
