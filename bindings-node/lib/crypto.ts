/** The two functions that need a key but no node. */

import { types } from 'node:util'

import { native } from './binary.js'
import { call, typeError } from './error.js'

/** Returns the Ethereum address of a private key (64 hex digits, `0x` optional): `0x` and 40 lowercase hex digits. */
export function ethAddress(privhex: string): string {
  if (typeof privhex !== 'string') throw typeError('privhex', 'a string', privhex)
  return call(() => native.ethAddress(privhex))
}

/** Signs bytes as a wallet does (EIP-191 `personal_sign`): `0x` and 130 hex digits. */
export function signEip191(privhex: string, message: Uint8Array): string {
  if (typeof privhex !== 'string') throw typeError('privhex', 'a string', privhex)
  return call(() => native.signEip191(privhex, bytes(message)))
}

/** Checks a message to sign. */
export function bytes(message: Uint8Array): Uint8Array {
  // This also accepts those of another realm, such as every Buffer under Jest.
  if (!types.isUint8Array(message)) throw typeError('message', 'a Uint8Array', message)
  return message
}
