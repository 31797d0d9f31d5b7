// Events cross from the addon only while somebody listens, and nobody is to notice.
import assert from 'node:assert/strict'
import { on, once } from 'node:events'
import { describe, it } from 'node:test'
import type { TestContext } from 'node:test'

import type { PosemeshNode } from 'posemesh-node'
import { HANG_MS, localDds, startNode } from './support.js'

/** What the package under test calls: the sources that this test could import would load an addon of their own. */
const { native } = require('../dist/binary.js') as typeof import('../lib/binary.js')

const wait = { timeoutMs: HANG_MS }
const AGAIN = ['disconnected', 'registering', 'registered']

/** A registered node that nobody listens to, and the types of the messages that its addon sends from now on. */
async function unheardNode(t: TestContext): Promise<{ node: PosemeshNode; sent: string[] }> {
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
    await oneTurn()
    // Whatever was on its way has arrived before this is over.
    await registerAgain(node)
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

/** By then the addon knows that nobody listens any more. */
const oneTurn = () => new Promise(setImmediate)

describe('events', () => {
  it('are not sent while nobody listens', async (t) => {
    const { node, sent } = await unheardNode(t)
    await registerAgain(node)
    assert.deepEqual(sent, ['waited'])

    const seen: string[] = []
    const listener = ({ to }: { to: string }) => seen.push(to)
    node.on('status', listener)
    await registerAgain(node)
    assert.deepEqual(seen, AGAIN)

    node.off('status', listener)
    await oneTurn()
    sent.length = 0
    await registerAgain(node)
    assert.deepEqual(sent, ['waited'])
    assert.deepEqual(seen, AGAIN)
  })

  for (const [how, listen] of Object.entries<(node: PosemeshNode, seen: string[]) => unknown>({
    on: (node, seen) => node.on('status', ({ to }) => seen.push(to)),
    prependListener: (node, seen) => node.prependListener('status', ({ to }) => seen.push(to)),
    'a loop around once': async (node, seen) => {
      while (seen.at(-1) !== 'registered') seen.push((await once(node, 'status'))[0].to)
    },
    'once in once': (node, seen) => {
      const next = ({ to }: { to: string }) => {
        seen.push(to)
        if (to !== 'registered') node.once('status', next)
      }
      node.once('status', next)
    },
    'for await': async (node, seen) => {
      for await (const [{ to }] of on(node, 'status')) if (seen.push(to) === AGAIN.length) break
    },
  })) {
    it(`are heard by ${how}, also after removeAllListeners()`, async (t) => {
      const { node } = await unheardNode(t)
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

  it('are heard by a listener that comes after the call of stop()', async (t) => {
    const { node } = await unheardNode(t)
    const stopped = node.stop()
    const [{ from, to }] = await once(node, 'status')
    assert.deepEqual([from, to], ['registered', 'disconnected'])
    await stopped
    // Nothing follows, and it does no harm.
    node.on('status', () => assert.fail('it was stopped'))
  })

  it('of the log go on after removeAllListeners()', async (t) => {
    const { node } = await unheardNode(t)
    node.removeAllListeners()
    const heard = once(node, 'log')
    await registerAgain(node)
    await heard
  })
})
