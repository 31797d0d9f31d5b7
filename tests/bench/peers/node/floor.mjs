/** Two POSTs and one signature by an addon's thread, which wakes JavaScript when they are done. */

import { createRequire } from 'node:module'

import { answer } from './commands.mjs'

const { Floor } = createRequire(import.meta.url)('./floor.node')

let registered
const floor = new Floor(() => registered())

await answer({
  async register(times) {
    for (let n = 0; n < Number(times); n++) {
      await new Promise((resolve) => {
        registered = resolve
        floor.register()
      })
    }
  },
})
