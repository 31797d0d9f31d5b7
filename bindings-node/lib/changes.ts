/** The count of changes that core shares with JavaScript, so that an unchanged value is not read again. */

import { call } from './error.js'
import type { NativeNode } from './native.js'

/** @internal Counts the changes of the status of one node, which include those of its access token. */
export class Changes {
  /** `null` if the engine does not allow external memory. */
  readonly #shared: Int32Array | null

  constructor(native: NativeNode) {
    const buffer = call(() => native.statusChanges())
    this.#shared = buffer && new Int32Array(buffer)
  }

  /** A different number after every change, or `undefined` if it is not known whether something has changed. */
  count(): number | undefined {
    return this.#shared ? Atomics.load(this.#shared, 0) : undefined
  }
}
