// The addon sends events only while there are listeners, and no listener can observe that.
import assert from 'node:assert/strict'
import { on, once } from 'node:events'
import { describe, it } from 'node:test'
import type { TestContext } from 'node:test'

import type { PosemeshNode, StatusEvent } from 'posemesh-node'
import { HANG_MS, localDds, startNode } from './support.js'

/** The addon that the package under test uses, because the sources would load another instance of it. */
const { native } = require('../dist/binary.js') as typeof import('../lib/binary.js')

const wait = { timeoutMs: HANG_MS }
const AGAIN = ['disconnected', 'registering', 'registered']

/** A registered node without listeners, and the types of the messages that its addon sends from now on. */
async function silentNode(t: TestContext): Promise<{ node: PosemeshNode; sent: string[] }> {
  const sent: string[] = []
  const { start } = native
  native.start = (options, environment, deliver, cancellation) => {
    const spy: typeof deliver = (message) => {
      sent.push(message.type)
      deliver(message)
    }
    return start(options, environment, spy, cancellation)
  }
  try {
    const node = await startNode(t, await localDds(t))
    await node.waitRegistered(wait)
    // With a listener, a wait ends after the events before it. Without one it may end before them.
    const listener = () => {}
    node.on('status', listener)
    await registerAgain(node)
    node.off('status', listener)
    await oneTurn()
    sent.length = 0
    return { node, sent }
  } finally {
    native.start = start
  }
}

async function registerAgain(node: PosemeshNode): Promise<void> {
  node.rearm()
  await node.waitRegistered(wait)
}

/** After one turn, the addon has stopped to send events if there are no listeners. */
const oneTurn = () => new Promise(setImmediate)

describe('events', () => {
  it('are not sent while there are no listeners', async (t) => {
    const { node, sent } = await silentNode(t)
    await registerAgain(node)
    assert.deepEqual(sent, ['waited'])

    const seen: string[] = []
    const listener = ({ state }: StatusEvent) => seen.push(state)
    node.on('status', listener)
    await registerAgain(node)
    // The events of the silent registration may still have been on their way.
    assert.deepEqual(seen.slice(-AGAIN.length), AGAIN)

    const count = seen.length
    node.off('status', listener)
    await oneTurn()
    sent.length = 0
    await registerAgain(node)
    assert.deepEqual(sent, ['waited'])
    assert.equal(seen.length, count)
  })

  for (const [how, listen] of Object.entries<(node: PosemeshNode, seen: string[]) => unknown>({
    on: (node, seen) => node.on('status', ({ state }) => seen.push(state)),
    prependListener: (node, seen) => node.prependListener('status', ({ state }) => seen.push(state)),
    'a loop around once': async (node, seen) => {
      while (seen.at(-1) !== 'registered') seen.push((await once(node, 'status'))[0].state)
    },
    'once in once': (node, seen) => {
      const next = ({ state }: StatusEvent) => {
        seen.push(state)
        if (state !== 'registered') node.once('status', next)
      }
      node.once('status', next)
    },
    'for await': async (node, seen) => {
      for await (const [{ state }] of on(node, 'status')) if (seen.push(state) === AGAIN.length) break
    },
  })) {
    it(`reach ${how}, also after removeAllListeners()`, async (t) => {
      const { node } = await silentNode(t)
      for (const removed of [[], ['status'], ['newListener'], []] as const) {
        const seen: string[] = []
        const listening = listen(node, seen)
        await registerAgain(node)
        await listening
        assert.deepEqual(seen, AGAIN)
        node.removeAllListeners(...removed)
        await oneTurn()
      }
    })
  }

  it('reach a listener that is added after the call of stop()', async (t) => {
    const { node } = await silentNode(t)
    const stopped = node.stop()
    const [{ previous, state }] = await once(node, 'status')
    assert.deepEqual([previous, state], ['registered', 'disconnected'])
    await stopped
    // No event follows, and adding a listener does not throw.
    node.on('status', () => assert.fail('an event after the stop'))
  })

  it('of the log reach listeners that are added after removeAllListeners()', async (t) => {
    const { node } = await silentNode(t)
    node.removeAllListeners()
    const heard = once(node, 'log')
    await registerAgain(node)
    await heard
  })
})
