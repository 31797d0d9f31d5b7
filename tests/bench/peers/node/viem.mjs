/**
 * What one would write with fetch and viem. With the argument `cold`, one registration and the end; with `first`, also a
 * sign-in and one authorized request.
 */

import { privateKeyToAccount } from 'viem/accounts'

const { DDS_BASE_URL, REG_SECRET, SECP256K1_PRIVHEX, CAPABILITIES, NODE_VERSION } = process.env
const account = privateKeyToAccount(`0x${SECP256K1_PRIVHEX}`)

async function post(path, body) {
  const response = await fetch(`${DDS_BASE_URL}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  })
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return response
}

const wallet = account.address.toLowerCase()

async function signedChallenge() {
  const challenge = await (await post('/internal/v1/auth/siwe/request', { wallet })).json()
  const message = `${challenge.domain} wants you to sign in with your Ethereum account:
${wallet}

URI: ${challenge.uri}
Version: ${challenge.version}
Chain ID: ${challenge.chainId}
Nonce: ${challenge.nonce}
Issued At: ${challenge.issuedAt}`
  return { message, signature: await account.signMessage({ message }) }
}

async function register(times) {
  for (let n = 0; n < Number(times); n++) {
    const response = await post('/internal/v1/nodes/register-wallet', {
      ...(await signedChallenge()),
      registration_credentials: REG_SECRET,
      capabilities: CAPABILITIES.split(','),
      version: NODE_VERSION,
    })
    await response.arrayBuffer()
  }
}

async function requestWithToken() {
  const verified = await post('/internal/v1/auth/siwe/verify', { address: wallet, ...(await signedChallenge()) })
  const { access_token: token } = await verified.json()
  const response = await fetch(`${DDS_BASE_URL}/authorized`, { headers: { authorization: `Bearer ${token}` } })
  if (!response.ok) throw new Error(response.statusText)
}

if (process.argv[2] === 'cold') {
  await register(1)
} else if (process.argv[2] === 'first') {
  await register(1)
  await requestWithToken()
} else {
  const { answer } = await import('./commands.mjs')
  await answer({ register })
}
