/** A signer of the program, in place of a private key. */

import { native } from './binary.js'
import { call, typeError } from './error.js'
import type { NativeSigner } from './native.js'

/**
 * Signs for a node whose private key is not in this process, but for example in a KMS, an HSM or a wallet daemon. Every
 * account of viem with a `signMessage` is one.
 */
export interface Signer {
  /** The Ethereum address of the key: `0x` and 40 hex digits. */
  readonly address: string
  /**
   * Signs text as a wallet does (EIP-191 `personal_sign`), and returns the signature as 130 hex digits, or a promise of it.
   * The library checks the signature. If this throws, or does not settle within `requestTimeoutSecs`, the attempt fails and
   * is retried.
   */
  signMessage(request: { message: string }): string | PromiseLike<string>
}

export function checkSigner(signer: Signer): void {
  if (typeof signer !== 'object' || signer === null) {
    throw typeError('signer', 'an object with address and signMessage', signer)
  }
  if (typeof signer.address !== 'string') throw typeError('signer.address', 'a string', signer.address)
  if (typeof signer.signMessage !== 'function') {
    throw typeError('signer.signMessage', 'a function', signer.signMessage)
  }
}

/** @internal Lets the addon request signatures. It must be closed. */
export function openSigner(signer: Signer): NativeSigner {
  const bridge = new native.NativeSigner(signer.address, ({ number, message }) => {
    const respond = (signature: string | null, reason: string) => call(() => bridge.respond(number, signature, reason))
    sign(signer, message).then(
      (signature) => respond(signature, ''),
      (error: unknown) => respond(null, describe(error)),
    )
  })
  return bridge
}

async function sign(signer: Signer, message: string): Promise<string> {
  const signature: unknown = await signer.signMessage({ message })
  // The error contains the type, and not the value, which may be a secret.
  if (typeof signature !== 'string') throw typeError('the result of signMessage', 'a string', signature)
  return signature
}

/** The message of an error, which may be any value. */
function describe(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error)
  } catch {
    return 'signMessage threw a value that cannot be converted to a string'
  }
}
