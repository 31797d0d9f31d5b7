// How a node affects the end of its process. Each program runs many times.
import { join } from 'node:path'
import { describe, it } from 'node:test'
import assert from 'node:assert/strict'

import { FIXTURES, assertEnded, repeat, runNode } from './support.js'

const fixture = (name: string, ...args: string[]) => runNode([join(FIXTURES, name), ...args])

describe('a process', () => {
  const cases: [what: string, fixture: string, code: number, stdout: string, ...args: string[]][] = [
    ['ends by itself after its node is stopped', 'ends-after-stop.mjs', 0, 'stopped'],
    ['does not end while its node runs', 'stays-alive.mjs', 0, 'still alive'],
    ['ends while an unreferenced node runs', 'ends-unreferenced.mjs', 0, 'unreferenced'],
    ['receives the end of a wait when an unreferenced node is stopped', 'ends-after-stop-unreferenced.mjs', 0, 'ERR_STOPPED'],
    ['ends on process.exit() while its node is registered', 'process-exit.mjs', 7, 'exiting'],
    ['ends on process.exit() during a registration', 'process-exit.mjs', 7, 'exiting', 'hang'],
    ['receives every event since the start', 'early-events.mjs', 0, 'registering registered disconnected'],
    ['ends right after a start that is not awaited', 'without-await.mjs', 3, ''],
    ['ends after a stop that ended a wait for a token', 'token-without-await.mjs', 0, 'ERR_STOPPED'],
    ['ends while an unreferenced node waits for a token', 'token-without-await.mjs', 0, '', 'unref'],
    ['ends on a signal that stops the node', 'signal.mjs', 0, 'ready\nstopped by a signal'],
  ]
  for (const [what, name, code, stdout, ...args] of cases) {
    // scenario: process-exit
    it(what, () => repeat(async () => assertEnded(await fixture(name, ...args), code, stdout)))
  }

  it('does not end on a caught error with --abort-on-uncaught-exception', async () => {
    const codes = [
      ...['ERR_INVALID_ARGUMENT', 'ERR_INVALID_ARGUMENT', 'ERR_TIMEOUT', 'ERR_TIMEOUT', 'ABORT_ERR'],
      ...['ERR_INVALID_ARG_VALUE', 'ERR_TIMEOUT', 'ERR_INVALID_CONFIG', 'ERR_BIND', 'ABORT_ERR'],
      ...['ERR_IO', 'ERR_STOPPED', 'ERR_STOPPED', 'ERR_STOPPED', 'ERR_STOPPED'],
    ]
    const args = ['--abort-on-uncaught-exception', join(FIXTURES, 'refusals.mjs')]
    assertEnded(await runNode(args), 0, codes.join(' '))
  })

  // scenario: callback-fails
  it('ends on an uncaught exception of a listener', () =>
    repeat(async () => {
      const ended = await fixture('uncaught.mjs')
      assertEnded(ended, 1)
      assert.match(ended.stderr, /a listener that throws/)
    }))
})
