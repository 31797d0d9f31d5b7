/** Where the adapters for web servers and for metrics have their node from. */

import { types } from 'node:util'

import { typeError, valueError } from './error.js'
import { PosemeshNode } from './node.js'

/** A node, or a function that returns it, and `undefined` as long as it has not started. */
export type NodeSource = PosemeshNode | (() => PosemeshNode | undefined)

/** @internal Checks a source, and returns the function that returns its node. */
export function follow(source: NodeSource): () => PosemeshNode | undefined {
  if (source instanceof PosemeshNode) return () => source
  if (typeof source !== 'function') throw typeError('node', 'a PosemeshNode or a function that returns one', source)
  if (types.isAsyncFunction(source)) throw valueError('node must return the node at once, got an async function')
  return () => {
    const node: unknown = source()
    if (node === undefined || node === null || node instanceof PosemeshNode) return node ?? undefined
    throw typeError('the result of node()', 'a PosemeshNode or undefined', node)
  }
}
