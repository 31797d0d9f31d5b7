/**
 * This library, as a Node.js program uses it. With the argument `cold`, from start to end of one registration; with `first`,
 * to one authorized request.
 */

import { PosemeshNode } from 'posemesh-node'

const node = await PosemeshNode.fromEnv()
await node.waitRegistered()

if (process.argv[2] === 'first') {
  const { value } = await node.accessToken()
  const response = await fetch(`${process.env.DDS_BASE_URL}/authorized`, { headers: { authorization: `Bearer ${value}` } })
  if (!response.ok) throw new Error(response.statusText)
} else if (process.argv[2] !== 'cold') {
  const { answer } = await import('./commands.mjs')
  await answer({
    async register(times) {
      for (let n = 0; n < Number(times); n++) {
        node.rearm()
        await node.waitRegistered()
      }
    },
    status(times) {
      for (let n = 0; n < Number(times); n++) node.status()
    },
    async token(times) {
      for (let n = 0; n < Number(times); n++) await node.accessToken()
    },
    async emptyAwaited(times) {
      const empty = async () => {}
      for (let n = 0; n < Number(times); n++) await empty()
    },
    async tryToken(times) {
      await node.accessToken()
      for (let n = 0; n < Number(times); n++) node.tryAccessToken()
    },
    /** The same loop around a function of an addon that does nothing. */
    async empty(times) {
      const { createRequire } = await import('node:module')
      const { nothing } = createRequire(import.meta.url)('./floor.node')
      for (let n = 0; n < Number(times); n++) nothing()
    },
  })
}
await node.stop()
