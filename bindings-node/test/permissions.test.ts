// Runtimes with permissions.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { PACKAGE, assertEnded, runNode } from './support.js'

// The option had another name before Node.js 23.5.
const PERMISSION = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission'

const load = (...flags: string[]) => {
  const program = `console.log(typeof require('posemesh-node').PosemeshNode)`
  return runNode([PERMISSION, ...flags, '-e', program], { cwd: PACKAGE })
}

describe('the permission model of Node.js', () => {
  it('loads the package with the permissions that the error names', async () => {
    const denied = await load('--allow-fs-read=*')
    assert.equal(denied.code, 1)
    assert.match(denied.stderr, /run it with --allow-addons, and --allow-fs-read for the installed packages\./)
    assert.match(denied.stderr, /ERR_POSEMESH_BINARY/)
    assert.doesNotMatch(denied.stderr, /npm install/)
    assertEnded(await load('--allow-addons', `--allow-fs-read=${PACKAGE}/*`), 0, 'function')
  })
})

describe('--no-addons', () => {
  it('is named by the error', async () => {
    const denied = await runNode(['--no-addons', '-e', `require('posemesh-node')`], { cwd: PACKAGE })
    assert.equal(denied.code, 1)
    assert.match(denied.stderr, /Node\.js runs with --no-addons/)
    assert.doesNotMatch(denied.stderr, /npm install|permission model/)
  })
})
