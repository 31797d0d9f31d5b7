/** Starts the node of the addon. */

import { withoutPrototype } from './arguments.js'
import { native } from './binary.js'
import { type CoreOptions, EXTRA_AUTHORITIES, environment, extraAuthorities, inCamelCase, toCore } from './config.js'
import { AbortError, fromFailure, isFailure } from './error.js'
import type { Failure, Message, NativeNode, NativeSigner, StartCancellation } from './native.js'

/** @internal How a node is started. */
export interface Start {
  readonly options: CoreOptions
  /** Whether the environment is read for the options that are not given. */
  readonly fromEnv: boolean
  readonly signer: NativeSigner | undefined
  readonly signal: AbortSignal | undefined
  readonly deliver: (message: Message) => void
}

/** @internal Starts a node. `deliver` receives its messages, possibly before this resolves. */
export async function startNative({ options, fromEnv, signer, signal, deliver }: Start): Promise<NativeNode> {
  const core = toCore(options)
  const variables = fromEnv ? environment(process.env, core) : withoutPrototype<string>([])
  const authorities = extraAuthorities(core, variables)
  if (authorities !== undefined) core['ca_file'] = authorities
  if (signal?.aborted) throw new AbortError(signal)
  const started = await unlessAborted(signal, (cancellation) => native.start(core, variables, deliver, cancellation, signer))
  if (!isFailure(started)) return started

  const error = fromFailure({ ...started, message: inCamelCase(started.message) })
  if (authorities !== undefined) error.message = error.message.replace(/^caFile(?= )/, EXTRA_AUTHORITIES)
  throw error
}

/** Starts, unless the signal is aborted before libuv's pool has a thread for it. */
function unlessAborted(
  signal: AbortSignal | undefined,
  start: (cancellation: StartCancellation) => Promise<NativeNode | Failure> | Failure,
): Promise<NativeNode | Failure> {
  const cancellation = new native.StartCancellation()
  return new Promise((resolve, reject) => {
    const abort = () => {
      if (cancellation.cancel()) reject(new AbortError(signal as AbortSignal))
    }
    signal?.addEventListener('abort', abort)
    const starting = async () => start(cancellation)
    starting().then(resolve, reject).finally(() => signal?.removeEventListener('abort', abort))
  })
}
